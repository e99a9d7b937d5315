"""Which repositories are the mirror's own, and that no upstream hears of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.asking import ask

from layercache.config.setting import Setting
from layercache.oci.digest import Digest
from layercache.serve.settings import settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.lying import LyingRegistry
    from servers.pushing import Pusher, Start


@pytest.fixture
def upstream(lying: LyingRegistry, sample: Sample) -> LyingRegistry:
    """A default upstream with ``app:1``."""
    lying.add_image("1", sample.image)
    return lying


def test_a_writable_mirror_without_a_default_upstream_asks_no_upstream_for_a_name() -> None:
    found = {"writable": Setting(True, "file")}
    assert settings_of(found).hosted == ("*",)
    assert settings_of(found | {"hosted": Setting(("team/*",), "file")}).hosted == ("team/*",)
    assert settings_of(found | {"default_upstream": Setting("ghcr.io", "file")}).hosted is None
    assert settings_of({}).hosted is None


@pytest.mark.parametrize("path", ["manifests/x", "tags/list", "referrers/sha256:" + "0" * 64])
def test_no_upstream_is_asked_for_a_hosted_repository(
    start: Start, upstream: LyingRegistry, path: str
) -> None:
    pusher = start(default_upstream=upstream.host, hosted=("team/*",))
    pusher.get(path, repository="team/secret")
    assert upstream.requests == []


def test_nothing_refers_to_a_manifest_of_a_repository_that_nobody_has(
    start: Start, upstream: LyingRegistry
) -> None:
    """A 404 would stand for a registry without that list (distribution-spec, "Listing Referrers")."""
    pusher = start(default_upstream=upstream.host, hosted=("team/*",))
    found = pusher.get(f"referrers/{Digest.of(b'x')}", repository="unknown")
    assert (found.status, found.json["manifests"]) == (200, [])
    assert pusher.get("tags/list", repository="unknown").status == 404


def test_what_matches_no_pattern_is_the_upstreams_and_is_not_pushed_to(
    start: Start, upstream: LyingRegistry, sample: Sample
) -> None:
    pusher = start(default_upstream=upstream.host, hosted=("team/*",))
    assert pusher.get("manifests/1", repository="app").body == sample.image.manifest
    for method, path in [("POST", "blobs/uploads/"), ("PUT", "manifests/1"), ("DELETE", "manifests/1")]:
        refused = pusher.get(path, method, "app")
        assert (refused.status, refused.code) == (405, "UNSUPPORTED")


@pytest.mark.parametrize("name", ["docker.io/library/alpine", "127.0.0.1:1/app", "ghcr.io/team/app"])
def test_nothing_is_pushed_to_a_name_that_is_an_upstreams(start: Start, name: str) -> None:
    pusher = start()
    assert pusher.get("blobs/uploads/", "POST", name).status == 405
    assert pusher.get("blobs/uploads/", "POST", "library/alpine", ns="docker.io").status == 405


def test_a_blob_of_an_upstreams_repository_is_mounted_if_it_is_cached(
    start: Start, upstream: LyingRegistry, sample: Sample
) -> None:
    pusher = start(default_upstream=upstream.host, hosted=("team/*",))
    layer = sample.image.layers[0]
    pusher.get("manifests/1", repository="app")
    assert mount(pusher, layer.digest) == 202
    assert pusher.get(f"blobs/{layer.digest}", repository="app").body == layer.blob
    assert mount(pusher, layer.digest) == 201
    assert mount(pusher, layer.diff_id) == 202
    assert pusher.get(f"blobs/{layer.digest}").body == layer.blob


def mount(pusher: Pusher, name: str) -> int:
    return pusher.get("blobs/uploads/", "POST", "team/app", **{"mount": name, "from": "app"}).status


def test_a_repository_is_hosted_once_something_was_pushed_to_it(
    start: Start, upstream: LyingRegistry, sample: Sample, tmp_path: Path
) -> None:
    pusher = start(default_upstream=upstream.host, hosted=None)
    assert pusher.get("manifests/1", repository="app").body == sample.image.manifest
    pusher.image(sample.index.images[0], "1", "app")
    assert pusher.get("manifests/1", repository="app").body == sample.index.images[0].manifest
    asked = len(upstream.requests)
    assert pusher.get("manifests/1", "DELETE", "app").status == 202
    assert pusher.get("manifests/1", repository="app").status == 404
    assert len(upstream.requests) == asked
    elsewhere = start(default_upstream=upstream.host, hosted=None, uploads=f"{tmp_path}/elsewhere")
    digest = sample.index.images[0].descriptor.digest
    assert elsewhere.get(f"manifests/{digest}", repository="app").status == 200
    assert len(upstream.requests) == asked


def test_a_hosted_repository_has_the_name_that_images_are_listed_by(start: Start, sample: Sample) -> None:
    pusher = start()
    pusher.image(sample.image, "1")
    assert pusher.get("manifests/1", repository="localhost/team/app").body == sample.image.manifest
    assert pusher.get("manifests/1", ns="localhost").body == sample.image.manifest
    assert pusher.get("blobs/uploads/", "POST", ns="localhost").status == 202


def test_containerd_may_name_the_mirror_itself_as_the_namespace(start: Start, sample: Sample) -> None:
    pusher = start()
    pusher.image(sample.image, "1")
    headers = {"host": "mirror.example:5000"}
    found = ask(pusher.service, "/v2/team/app/manifests/1?ns=mirror.example:5000", headers=headers)
    assert found.body == sample.image.manifest
