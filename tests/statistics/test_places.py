"""Counters by place: where each blob came from, and what a hit saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.layers import large, put, read, sample
from fixtures.stores import Fetch, Store, far, near, open_cache, write_blob
from servers.registry import Registry

import layercache
from layercache.registry.settings import RegistrySettings
from layercache.statistics.counters import Counters, PlaceCounters
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample

    from layercache.cache import Cache
    from layercache.events import Event

LAYER = sample(1)
BLOB, TAR = len(LAYER.blob), len(LAYER.tar)


def places(cache: Cache) -> dict[str, PlaceCounters]:
    return {each.name: each for each in cache.counters.places}


def test_a_hit_in_a_far_tier_is_a_hit_and_nothing_was_fetched() -> None:
    bucket = far(Store(MemoryBackend(), url="store://bucket"))
    write_blob(bucket, LAYER.digest, LAYER.blob)
    with open_cache(near(), bucket) as cache:
        read(cache.layer(LAYER.digest).compressed())
        found = cache.counters
        assert (found.hits, found.fetched, found.fetched_bytes) == (1, 0, 0)
        assert found.places == (PlaceCounters("tier", "store://bucket", 1, BLOB, BLOB),)
        read(cache.layer(LAYER.digest).compressed())
        assert cache.counters.hits == 2
        assert places(cache)["memory://"].blobs == 1


def test_what_no_tier_has_is_fetched_from_the_source() -> None:
    with open_cache(near(), far()) as cache:
        read(cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).compressed())
        found = cache.counters
        assert (found.hits, found.fetched, found.fetched_bytes) == (0, 1, BLOB)
        assert [(each.kind, each.blobs, each.bytes) for each in found.places] == [("function", 1, BLOB)]


def test_counters_are_a_snapshot_and_two_of_them_can_be_compared() -> None:
    with open_cache() as cache:
        before = cache.counters
        assert before == Counters()
        put(cache, LAYER.blob)
        read(cache.get(LAYER.digest).compressed())
        after = cache.counters
        assert (before.hits, before.stored, after.hits) == (0, 0, 1)
        with pytest.raises(AttributeError):
            after.hits = 2  # type: ignore[misc]
        read(cache.get(LAYER.digest).compressed())
        read(cache.get(LAYER.digest).compressed())
        done = cache.counters - after
        assert (done.hits, done.stored, done.inflated) == (2, 0, 0)
        assert [(each.name, each.blobs, each.bytes) for each in done.places] == [("memory://", 2, 2 * BLOB)]
        assert (cache.counters - cache.counters).places == ()


def test_a_tar_that_was_there_saves_its_blob_and_its_inflating() -> None:
    with open_cache() as cache:
        put(cache, LAYER.blob)
        before = cache.counters
        read(cache.get(LAYER.diff_id).uncompressed())
        (place,) = (cache.counters - before).places
        assert (place.bytes, place.saved_bytes, place.saved_tar_bytes) == (TAR, BLOB, TAR)


def test_a_part_of_a_tar_saves_its_share() -> None:
    with open_cache() as cache:
        put(cache, LAYER.blob)
        before = cache.counters
        read(cache.get(LAYER.diff_id).uncompressed(0, TAR // 2))
        (place,) = (cache.counters - before).places
        assert place.bytes == place.saved_tar_bytes == TAR // 2
        assert place.saved_bytes == BLOB * (TAR // 2) // TAR


def test_a_plain_tar_is_its_own_blob_and_saves_no_inflating() -> None:
    plain = sample(1, "none")
    with open_cache() as cache:
        put(cache, plain.blob)
        read(cache.get(plain.diff_id).uncompressed())
        (place,) = cache.counters.places
        assert (place.saved_bytes, place.saved_tar_bytes) == (len(plain.tar), 0)
        assert cache.counters.inflating_seconds == 0


def test_inflating_is_timed_where_it_happens() -> None:
    with open_cache() as cache:
        put(cache, large(1).blob)
        assert cache.counters.inflating_seconds > 0
    with open_cache() as cache:
        read(cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).uncompressed())
        assert cache.counters.inflating_seconds > 0
        before = cache.counters
        read(cache.get(LAYER.diff_id).uncompressed())
        assert (cache.counters - before).inflating_seconds == 0


def test_both_forms_asked_for_at_once_are_one_request() -> None:
    with open_cache() as cache:
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        layer.fill("both")
        assert (cache.counters.hits, cache.counters.fetched) == (0, 1)
        layer.fill("both")
        assert (cache.counters.hits, cache.counters.fetched) == (1, 1)


def test_a_blob_that_a_broken_tier_began_counts_where_its_last_bytes_came_from() -> None:
    layer = large(1)
    breaking, sound = Store(MemoryBackend(), url="store://a"), Store(MemoryBackend(), url="store://b")
    for store in (breaking, sound):
        write_blob(store.inner, layer.digest, layer.blob)
        store.fails = lambda did, _key, store=store: did == "read" and len(store.did("read")) > 3  # type: ignore[misc]
    with open_cache(near(), far(breaking), far(sound)) as cache:
        fetch = Fetch(layer.blob)
        assert read(cache.layer(layer.digest, fetch=fetch).compressed()) == layer.blob
        places = cache.counters.places
        assert [(each.kind, each.blobs) for each in places if each.blobs] == [("function", 1)]
        assert sum(each.bytes for each in places) == len(layer.blob), "each place has what it gave"
        assert (cache.counters.hits, cache.counters.fetched) == (0, 1)


def test_a_mirror_is_counted_by_its_own_name(registry: Registry, sample: Sample, tmp_path: Path) -> None:
    """The mirror has all layers but one, which comes from the registry itself."""
    name, lost = registry.push(f"oci:{sample.layout}:image", "app:1"), sample.image.layers[0]
    events: list[Event] = []
    with Registry(tmp_path / "mirror") as mirror:
        mirror.push(f"oci:{sample.layout}:image", "hub/app:1")
        mirror.forget(lost.digest)
        settings = RegistrySettings(mirrors={registry.host: (f"{mirror.host}/hub",)}, retries=0)
        with layercache.open(tmp_path / "cache", registries=settings) as cache, cache.watch(events.append):
            for layer in cache.image(name).layers:
                layer.fill("compressed")
            found = places(cache)
    hub = found.pop(f"{mirror.host}/hub")
    assert (hub.kind, hub.blobs) == ("mirror", 2)
    assert found == {registry.host: PlaceCounters("registry", registry.host, 1, len(lost.blob))}
    where = {event.name: event.where for event in events if event.kind == "fetched"}
    assert where.pop(lost.digest) == f"{registry.host}/app"
    assert set(where.values()) == {f"{mirror.host}/hub/app"}
