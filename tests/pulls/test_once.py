"""Nothing is pulled or inflated twice: the registry's own access log and the cache's counters prove it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import layercache

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
    assert registry.fetches(sample.image.descriptor.digest) == 1


def test_a_second_pull_asks_the_registry_for_the_manifests_digest_alone(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    before = 0
    for _ in range(2):
        before = len(registry.accesses())
        with layercache.open(tmp_path / "cache") as cache:
            for layer in cache.image(name).layers:
                layer.fill("both")
    second = [
        (access.method, access.path) for access in registry.accesses()[before:] if access.path != "/v2/"
    ]
    assert second == [("HEAD", "/v2/team/app/manifests/1")]


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
