"""What is shown while another machine fetches a layer for all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from servers.images import Layer, make_image, make_layer, noise
from servers.lying import LyingRegistry

from layercache.cli import progress
from layercache.cli.activity import Activity
from layercache.events import Event
from layercache.oci.digest import Digest
from layercache.oci.forms import COMPRESSED
from layercache.tiers import keys, lease_watch
from layercache.tiers.lease import Lease

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller

MB = 1 << 20
NAME = Digest.of(b"layer")


@pytest.fixture(scope="module")
def big() -> Layer:
    return make_layer({"noise": noise(5 * MB)})


@pytest.fixture
def shared(tmp_path: Path, big: Layer) -> str:
    """A folder that machines share, with the lease of a machine that was killed when it was half done."""
    path = tmp_path / "shared" / keys.lease(big.digest)
    path.parent.mkdir(parents=True)
    killed = Lease(host="host-a", process=7, token="0" * 16, size=len(big.blob), received=len(big.blob))
    path.write_bytes(killed.encode())
    (tmp_path / "shared" / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"file://{tmp_path}/shared?lease=true&keep=compressed"


def test_a_wait_is_shown_with_who_is_waited_for_and_how_far_that_is(
    cli: Caller, shared: str, big: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "SILENCE", 0.7)
    monkeypatch.setattr(lease_watch, "SPREAD", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.1)
    with LyingRegistry() as registry:
        shown = cli("--cache", shared, "pull", registry.add_image("1", make_image([big])))
    assert "pulling: 0 of 1 layer" in shown.stderr
    assert ", waiting for host-a, 50 %\n" in shown.stderr
    assert "warning" not in shown.stderr


def test_the_log_and_verbose_output_name_it_too(
    cli: Caller, shared: str, big: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "SILENCE", 0.3)
    with LyingRegistry() as registry:
        shown = cli("--cache", shared, "--verbose", "pull", registry.add_image("1", make_image([big])))
    assert f"layercache: waiting compressed {big.digest} {len(big.blob) // 2} bytes file://" in shown.stderr


def test_a_wait_gives_way_to_the_transfer_that_follows_it() -> None:
    activity = Activity()
    waiting = Event("waiting", NAME, COMPRESSED, "s3://team", 40 * MB, 100 * MB, "host-a")
    activity.watch(waiting)
    (shown,) = activity.running
    assert (shown.words, shown.done, shown.total) == ("waiting for host-a, 40 %", 40 * MB, 100 * MB)
    activity.watch(Event("fetching", NAME, COMPRESSED, "s3://team", total=100 * MB))
    (shown,) = activity.running
    assert (shown.words.split()[0], shown.done) == ("fetching", 0)
    activity.watch(Event("fetched", NAME, COMPRESSED, "s3://team", 100 * MB))
    assert activity.running == []


def test_explain_names_the_tier_with_the_lease(cli: Caller, shared: str, big: Layer, tmp_path: Path) -> None:
    small = make_layer({"name": b"small"})
    with LyingRegistry() as registry:
        name = registry.add_image("1", make_image([big, small]))
        cli("pull", name)
        for layer in (big, small):
            cli("rm", "--force", layer.digest)
        shown = cli("--cache", shared, "explain", name).stdout
        document = json.loads(cli("--cache", shared, "explain", "--json", name).stdout)
    tier = f"file://{tmp_path}/shared"
    assert f"lease    1 layer by one machine for all, in {tier}\n" in shown
    assert [layer["compressed"]["lease"] for layer in document["layers"]] == [tier, ""]
