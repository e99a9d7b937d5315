"""What is shown while one waits: something moves on a terminal, lines elsewhere, nothing in data."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures import calling
from fixtures.calling import PROGRAM, Caller
from servers.images import Layer, make_image, make_layer, noise
from servers.lying import LyingRegistry
from servers.stores import make_bucket, server_of

import layercache.cli
from layercache.cli import progress
from layercache.testing import Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

MB = 1 << 20
PAUSE = 3.0
"""Seconds until a slow bucket answers: more than a busy machine takes for a line."""


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


@pytest.fixture(scope="module")
def big() -> Layer:
    return make_layer({"noise": noise(3 * MB)})


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, moto_endpoint: str) -> Iterator[tuple[str, FaultProxy]]:
    """The URL of a new bucket, and the proxy before it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with FaultProxy(server_of(moto_endpoint)[1]) as proxy:
        yield f"s3://{make_bucket(moto_endpoint)}/prod?endpoint_url={proxy.url}", proxy


@pytest.fixture
def team(tmp_path: Path, bucket: tuple[str, FaultProxy], monkeypatch: pytest.MonkeyPatch) -> Caller:
    """A caller with a folder and the bucket behind it."""
    monkeypatch.setenv("LAYERCACHE_URL", f"file://{tmp_path}/cache {bucket[0]}")
    return Caller(f"file://{tmp_path}/cache")


def on_terminal(caller: Caller, url: str, *arguments: str) -> tuple[int, str, float]:
    """Exit code, what appeared, and the longest time without a change between the first and the last."""
    times: list[float] = []

    def when(_seen: bytes) -> bytes:
        times.append(time.monotonic())
        return b""

    code, seen = caller.on_terminal("--cache", url, *arguments, when=when)
    return code, seen, max(after - before for before, after in pairwise(times))


@pytest.mark.slow
def test_something_moves_all_the_time_while_a_slow_bucket_is_filled(
    cli: Caller, registry: LyingRegistry, big: Layer, bucket: tuple[str, FaultProxy]
) -> None:
    url, proxy = bucket
    proxy.always = Fault(bandwidth=MB, latency=PAUSE)
    code, seen, longest = on_terminal(cli, url, "pull", registry.add_image("1", make_image([big])))
    assert code == 0
    assert longest < PAUSE - 0.5
    table, _, waiting = seen.partition(big.digest.hex[:12])
    assert "Ctrl-C" not in table, "the table is there before anybody waits"
    assert "MB to s3://" in waiting
    assert "Ctrl-C leaves it for next time" in waiting
    assert f"sent {len(big.blob) / 1e6:.1f} MB to s3://" in " ".join(seen.split())


@pytest.mark.parametrize(
    "command", ["get", *(pytest.param(each, marks=pytest.mark.slow) for each in ("stats", "verify", "ls"))]
)
def test_something_moves_all_the_time_while_a_slow_bucket_is_read(
    tmp_path: Path, cli: Caller, layer: Layer, file: Path, bucket: tuple[str, FaultProxy], command: str
) -> None:
    url, proxy = bucket
    Caller(url)("put", str(file))
    proxy.always = Fault(latency=PAUSE)
    more = {"get": [layer.digest, "-o", str(tmp_path / "got")], "stats": []}.get(command, ["--all-tiers"])
    code, _, longest = on_terminal(cli, url, command, *more)
    assert code == 0
    assert longest < PAUSE - 0.5


def test_an_interrupted_upload_says_what_is_left_and_the_next_pull_sends_it(
    cli: Caller, registry: LyingRegistry, big: Layer, bucket: tuple[str, FaultProxy]
) -> None:
    url, proxy = bucket
    proxy.always = Fault(bandwidth=100_000)
    name = registry.add_image("1", make_image([big]))
    code, seen = cli.on_terminal(
        "--cache", url, "pull", name, when=lambda seen: b"\x03" if b"Ctrl-C" in seen else b""
    )
    assert code == 130
    assert "not sent to" in seen
    assert "the next pull or put sends the rest" in " ".join(seen.split())
    proxy.always = Fault()
    Caller(url)("info", big.digest, code=1)
    assert f"sent {len(big.blob) / 1e6:.1f} MB to s3://" in cli("--cache", url, "pull", name).stderr
    Caller(url)("info", big.digest)


def test_without_a_terminal_a_line_appears_again_and_again(
    monkeypatch: pytest.MonkeyPatch, cli: Caller, registry: LyingRegistry, big: Layer
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.05)
    name = registry.add_image("1", make_image([big]))
    with FaultProxy(int(registry.host.rpartition(":")[2])) as proxy:
        proxy.always = Fault(bandwidth=4 * MB, latency=0.2)
        slow = name.replace(registry.host, f"127.0.0.1:{proxy.port}")
        called = cli("pull", slow, "--json")
    assert f"layercache: looking up {slow}\n" in called.stderr
    assert "layercache: pulling: 0 of 1 layer, " in called.stderr
    assert "\x1b" not in called.stderr
    assert json.loads(called.stdout)["fetched"] == 1


def test_quiet_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, cli: Caller, registry: LyingRegistry, big: Layer
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.01)
    name = registry.add_image("1", make_image([big]))
    assert cli("--quiet", "pull", name).output == ""
    assert cli.on_terminal("--quiet", "pull", name) == (0, "")


def test_the_reader_of_a_pipe_has_the_terminal_for_itself(
    cli: Caller, registry: LyingRegistry, big: Layer
) -> None:
    """As in ``layercache get … | tar -t``: once data flows, nothing is drawn between the reader's lines."""
    name = registry.add_image("1", make_image([big]))
    cli("pull", name)
    get = f"{' '.join(PROGRAM)} --cache {cli.url} get {big.digest}"
    code, seen = calling.on_terminal(
        ["sh", "-c", f"{get} | {{ head -c 1 >/dev/null; sleep 1; cat; }} | wc -c"]
    )
    assert code == 0
    assert seen.strip() == str(len(big.blob) - 1)


def test_all_output_goes_through_the_screen_which_hides_the_display_first() -> None:
    folder = Path(layercache.cli.__file__).parent
    own = {"terminal.py", "output.py", "progress.py", "help.py", "completion.py"}
    direct = [path.name for path in folder.rglob("*.py") if "click.echo(" in path.read_text()]
    assert set(direct) <= own
