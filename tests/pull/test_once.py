"""Nothing is pulled or inflated twice: the registry's own access log and the cache's counters prove it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.stores import Store, far, near, open_cache

import layercache
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry

    from layercache.layer import Forms, Layer


@pytest.fixture
def name(registry: Registry, sample: Sample) -> str:
    return registry.push(f"oci:{sample.layout}:image", "team/app:1")


def test_two_pulls_and_every_layer_by_both_names_fetch_and_inflate_each_layer_once(
    registry: Registry, sample: Sample, name: str, tmp_path: Path
) -> None:
    inflated = 0
    for _ in range(2):
        with layercache.open(tmp_path / "cache") as cache:
            for layer in cache.image(name).layers:
                layer.fill("compressed")
            assert cache.counters.inflated == 0, "asking for the compressed form inflates nothing"
    for _ in range(2):
        with layercache.open(tmp_path / "cache") as cache:
            for made in sample.image.layers:
                for asked in (made.digest, made.diff_id):
                    layer = cache.get(asked)
                    with layer.uncompressed() as tar, layer.compressed() as blob:
                        assert tar.read() == made.tar
                        assert blob.read() == made.blob
            inflated += cache.counters.inflated
    assert inflated == 2, "the gzip and the zstd layer, each once; the plain one has nothing to inflate"
    for made in sample.image.layers:
        assert registry.fetches(made.digest) == 1
    assert registry.fetches(layercache.Digest.of(sample.image.config)) == 1
    manifests = [access for access in registry.accesses() if "/manifests/" in access.path]
    assert [access.method for access in manifests if access.method == "GET"] == ["GET"]


def test_a_first_pull_asks_for_the_manifest_once_and_a_second_one_for_its_digest_alone(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    def pull() -> list[tuple[str, str]]:
        before = len(registry.accesses())
        with layercache.open(tmp_path / "cache") as cache:
            for layer in cache.image(name).layers:
                layer.fill("both")
        return [
            (access.method, access.path) for access in registry.accesses()[before:] if access.path != "/v2/"
        ]

    manifest = "/v2/team/app/manifests/1"
    assert [asked for asked in pull() if "/blobs/" not in asked[1]] == [("GET", manifest)]
    assert pull() == [("HEAD", manifest)]


def test_where_a_tier_is_far_the_manifest_may_be_there_and_is_not_fetched_before_its_digest_is_known(
    registry: Registry, name: str
) -> None:
    before = len(registry.accesses())
    with open_cache(near(), far(Store(MemoryBackend()))) as cache:
        assert cache.tiers[1].remote
        cache.image(name)
    asked = [access for access in registry.accesses()[before:] if access.path.endswith("manifests/1")]
    assert [access.method for access in asked] == ["HEAD"]


def test_offline_everything_pulled_before_works_without_the_registry(
    registry: Registry, sample: Sample, name: str, tmp_path: Path
) -> None:
    with layercache.open(tmp_path / "cache") as cache:
        for layer in cache.image(name).layers:
            layer.fill("compressed")
    registry.stop()
    with layercache.open(tmp_path / "cache", offline=True) as cache:
        for layer, made in zip(cache.image(name).layers, sample.image.layers, strict=True):
            with layer.uncompressed() as tar:
                assert tar.read() == made.tar
        with pytest.raises(layercache.NotFoundError, match="never:1 is not cached"):
            cache.image(f"{registry.host}/team/never:1")


def test_sixteen_threads_that_ask_for_both_forms_at_once_cause_one_fetch_and_one_inflation(
    registry: Registry, sample: Sample, name: str, tmp_path: Path
) -> None:
    asked: list[Forms] = ["compressed", "uncompressed"] * 8
    with layercache.open(tmp_path / "cache") as cache, ThreadPoolExecutor(16) as threads:
        image = cache.image(name)
        for layer, made in zip(image.layers, sample.image.layers, strict=True):
            together = threading.Barrier(16)

            def read(form: str, layer: Layer = layer, together: threading.Barrier = together) -> bytes:
                together.wait()
                with layer.compressed() if form == "compressed" else layer.uncompressed() as stream:
                    return stream.read()

            for form, data in zip(asked, threads.map(read, asked), strict=True):
                assert data == (made.blob if form == "compressed" else made.tar)
            assert registry.fetches(made.digest) == 1
        assert cache.counters.inflated == 2
