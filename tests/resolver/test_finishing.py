"""Readers that stop early: what cost much already goes on without them, and is kept; all is counted."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, large, read
from fixtures.stores import (
    Fetch,
    GatedFetch,
    Store,
    assert_idle,
    assert_sound,
    blobs,
    content,
    far,
    near,
    open_cache,
)
from resolver.early_readers import Seen, begin, cache_of
from servers.images import make_image, make_layer, noise

import layercache
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import LyingRegistry

    from layercache.cache import Cache
    from layercache.tiers.policy import Keep

pytestmark = pytest.mark.usefixtures("driven")


# What is finished, and what is not


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_a_layer_of_which_more_than_a_quarter_came_is_kept_and_not_fetched_again(
    form: str, compression: str
) -> None:
    layer, seen = large(1, compression), Seen()
    # A zstd of this size is one block: nothing comes out of it before its end.
    is_gated = (compression, form) != ("zstd", "uncompressed")
    fetch = GatedFetch(layer.blob, until=60_000 if is_gated else 1 << 30)
    with cache_of() as cache, cache.watch(seen.append):
        begin(cache, layer, fetch, form, 30_000)
        assert not is_gated or blobs(cache.tiers[0]) == set()
        fetch.go.set()
        cache.flush()
        assert_idle(cache)
        kept = {layer.digest} | ({layer.diff_id} if form == "uncompressed" else set())
        assert blobs(cache.tiers[0]) == {str(name) for name in kept}
        assert read(cache.get(layer.digest).uncompressed()) == layer.tar
        assert fetch.asked == [layer.digest]
        assert fetch.opened[0].was_closed.wait(60)
        assert (cache.counters.fetched, cache.counters.fetched_bytes) == (1, len(layer.blob))
    assert not is_gated or len(seen.of("finishing")) == 1
    assert seen.of("given_up") == []
    assert_sound(cache.tiers[0])


def test_a_layer_of_which_less_than_a_quarter_came_is_given_up_and_that_is_counted() -> None:
    layer, seen = large(1), Seen()
    fetch = GatedFetch(layer.blob, until=20_000)
    with cache_of() as cache, cache.watch(seen.append):
        begin(cache, layer, fetch, "compressed", 1000)
        fetch.go.set()
        cache.flush()
        assert_idle(cache)
        assert content(cache.tiers[0]) == {}
        (event,) = seen.of("given_up")
        assert 0 < event.size == cache.counters.fetched_bytes < len(layer.blob) / 4
        assert (event.name, event.total, cache.counters.fetched) == (layer.digest, len(layer.blob), 0)
        assert seen.of("finishing") == []
    assert fetch.opened[0].was_closed.wait(60)


@pytest.mark.parametrize(
    ("finish", "kept"),
    [("never", False), ("always", True), ("90%", False), ("20KB", True), ("90%,20KB", True), ("1GB", False)],
)
def test_how_much_is_enough_can_be_chosen(finish: str, kept: bool) -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=50_000)
    with cache_of(finish=finish) as cache:
        begin(cache, layer, fetch, "compressed", 30_000)
        fetch.go.set()
        cache.flush()
        assert bool(blobs(cache.tiers[0])) == kept


def test_what_no_tier_would_keep_is_not_finished_but_counted() -> None:
    layer, seen = large(1), Seen()
    fetch = GatedFetch(layer.blob)
    with cache_of(near(readonly=True), finish="always") as cache, cache.watch(seen.append):
        begin(cache, layer, fetch, "compressed", 30_000)
        cache.flush()
        (event,) = seen.of("given_up")
        assert 0 < event.size == cache.counters.fetched_bytes < len(layer.blob)
    assert seen.of("finishing") == []


def test_a_blob_that_is_bigger_than_its_tier_may_get_is_not_finished() -> None:
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.policy import Policy

    tier = BackendTier(MemoryBackend(), Policy(trusted=True, max_size=1000))
    layer = large(1)
    with cache_of(tier, finish="always") as cache:
        begin(cache, layer, GatedFetch(layer.blob, until=60_000), "compressed", 30_000)
        assert_idle(cache)
        assert content(tier) == {}


@pytest.mark.parametrize("keep", ["compressed", "uncompressed", "both"])
def test_each_tier_gets_the_forms_that_it_keeps_and_both_names_are_known(keep: Keep) -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=60_000)
    with cache_of(near(keep=keep)) as cache:
        asked = cache.layer(layer.digest, diff_id=layer.diff_id, size=len(layer.blob), fetch=fetch)
        with asked.uncompressed() as tar:
            tar.read(30_000)
        fetch.go.set()
        cache.flush()
        both = {str(layer.digest), str(layer.diff_id)}
        wanted = {"compressed": {layer.digest}, "uncompressed": {layer.diff_id}, "both": both}
        assert blobs(cache.tiers[0]) == wanted[keep]
        assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar
        assert fetch.asked == [layer.digest]


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_what_comes_from_a_far_tier_is_finished_too_also_offline(form: str) -> None:
    layer, store = large(1), Store(MemoryBackend())
    with open_cache(near(), far(store)) as cache:
        read(cache.layer(layer.digest, size=len(layer.blob), fetch=Fetch(layer.blob)).uncompressed())
    nearest = near()
    with layercache.Cache([nearest, far(store)], offline=True) as cache:
        store.asked.clear()
        begin(cache, layer, Fetch(), form, 60_000)
        cache.flush()
        assert layer.digest in blobs(nearest)
        assert store.did("open", below="blobs/") == [f"blobs/{layer.digest.replace(':', '/')}"]


def test_a_part_below_the_share_is_no_reason_to_fetch_the_rest_and_its_bytes_are_counted() -> None:
    layer = large(1)
    fetch = GatedFetch(layer.blob, until=16_000)
    with cache_of() as cache:
        asked = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch)
        assert read(asked.compressed(0, 100)) == layer.blob[:100]
        assert cache.counters.fetched_bytes == 100
        with asked.uncompressed(0, 9000) as part:
            assert part.read(10) == layer.tar[:10]
        fetch.go.set()
        cache.flush()
        assert content(cache.tiers[0]) == {}


# The scanner


@pytest.fixture
def images(lying: LyingRegistry) -> list[str]:
    """Ten images on one base, each with one more layer, in which the file comes after the first third."""
    base = make_layer({"early": noise(60_000, 1), "etc/os-release": b"sample", "late": noise(90_000, 2)})
    return [lying.add_image(str(number), make_image([base, large(number)])) for number in range(10)]


def scan(cache: Cache, name: str) -> bytes:
    """One file of an image, by a program that stops when it has found it."""
    for layer in cache.image(name, platform="linux/amd64").layers:
        with layer.uncompressed() as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.name == "etc/os-release":
                    file = tar.extractfile(member)
                    assert file is not None
                    return file.read()
    raise AssertionError("it is in the base")


def test_a_scanner_that_reads_one_file_of_ten_images_asks_the_registry_for_no_blob_twice(
    images: list[str], lying: LyingRegistry, tmp_path: Path
) -> None:
    for run in (1, 2):
        before = len(lying.requests)
        with layercache.open(f"{tmp_path}/cache") as cache:
            assert [scan(cache, name) for name in images] == [b"sample"] * 10
        fetched = [each.path for each in lying.requests[before:] if "/blobs/" in each.path]
        assert len(fetched) == len(set(fetched)) == (11 if run == 1 else 0), "ten configs and the base"
        counted = cache.counters
        assert (counted.fetched, counted.fetched_bytes > 100_000) == ((1, True) if run == 1 else (0, False))
