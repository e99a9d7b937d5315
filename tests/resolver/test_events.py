"""What is told to whoever watches adds up."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, large, put, read, sample
from fixtures.stores import Fetch, far, near, open_cache, write_blob

from layercache.oci.descriptor import OCI_LAYER_GZIP

if TYPE_CHECKING:
    from layercache.events import Event

pytestmark = pytest.mark.usefixtures("driven")


def kinds(events: list[Event]) -> Counter[tuple[str, str]]:
    return Counter((event.kind, event.form) for event in events if event.kind != "bytes")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("source", ["origin", "far"])
def test_a_fill_of_both_forms_tells_of_one_fetch_and_one_inflation(compression: str, source: str) -> None:
    layer = large(1, compression)
    plain = compression == "none"
    tiers = [near(), far()]
    if source == "far":
        write_blob(tiers[1], layer.digest, layer.blob)
    events: list[Event] = []
    with open_cache(*tiers) as cache, cache.watch(events.append):
        asked = cache.layer(layer.digest, size=len(layer.blob), fetch=Fetch(layer.blob))
        asked.fill("both")
        seen = kinds(events)
        assert seen[("fetching", "compressed")] == seen[("fetched", "compressed")] == 1
        assert seen[("inflating", "uncompressed")] == seen[("inflated", "uncompressed")] == (not plain)
        counters = cache.counters
        (place,) = counters.places
        assert (place.kind, place.blobs, place.bytes) == (
            ("function" if source == "origin" else "tier"),
            1,
            len(layer.blob),
        )
        assert (counters.hits, counters.fetched) == ((0, 1) if source == "origin" else (1, 0))
        assert (counters.inflated, counters.inflated_bytes) == ((0, 0) if plain else (1, len(layer.tar)))
        stored = [event for event in events if event.kind == "stored"]
        assert counters.stored == len(stored)
        assert counters.stored_bytes == sum(event.size for event in stored)
        assert {event.size for event in stored} == {len(layer.blob), len(layer.tar)}
        for form, size in (("compressed", len(layer.blob)), ("uncompressed", len(layer.tar))):
            if form == "uncompressed" and plain:
                continue
            moved = [event for event in events if (event.kind, event.form) == ("bytes", form)]
            assert sum(event.size for event in moved) == size
            assert len(moved) > 3, "as it moves, and not at the end"
        fetching = next(event for event in events if event.kind == "fetching")
        assert (fetching.total, fetching.name) == (len(layer.blob), layer.digest)
        assert not [event for event in events if event.kind == "failed"]


def test_hits_say_where_and_how_much_and_move_nothing() -> None:
    layer = sample(1)
    with open_cache() as cache:
        put(cache, layer.blob)
        events: list[Event] = []
        with cache.watch(events.append):
            read(cache.get(layer.digest).compressed())
            read(cache.get(layer.diff_id).uncompressed())
            cache.get(layer.digest).fill("both")
        assert {event.kind for event in events} == {"hit"}
        assert kinds(events) == {("hit", "compressed"): 1, ("hit", "uncompressed"): 2}, "one for both forms"
        assert {event.size for event in events} == {len(layer.blob), len(layer.tar)}
        assert {event.where for event in events} == {cache.tiers[0].name}
        assert cache.counters.hits == 3


def test_looking_a_layer_up_is_no_hit() -> None:
    layer = sample(1)
    with open_cache() as cache:
        put(cache, layer.blob)
        events: list[Event] = []
        with cache.watch(events.append):
            cache.get(layer.digest)
            assert layer.diff_id in cache
        assert not events


def test_a_watcher_hears_what_happens_inside_its_block_alone() -> None:
    heard: dict[str, list[Event]] = {"outer": [], "inner": []}
    with open_cache() as cache:
        put(cache, sample(1).blob)
        with cache.watch(heard["outer"].append):
            put(cache, sample(2).blob)
            with suppress(RuntimeError), cache.watch(heard["inner"].append):
                put(cache, sample(3).blob)
                raise RuntimeError
            put(cache, sample(4).blob)
        put(cache, sample(5).blob)
        names = {who: {event.name for event in events} for who, events in heard.items()}
        assert sample(3).digest in names["inner"]
        assert not names["inner"] & {sample(seed).digest for seed in (1, 2, 4, 5)}
        assert names["outer"] >= {sample(seed).digest for seed in (2, 3, 4)}
        assert not names["outer"] & {sample(seed).digest for seed in (1, 5)}
        assert cache.counters.inflated == 5, "counters count whoever watches"


def test_one_watcher_twice_hears_everything_twice() -> None:
    events: list[Event] = []
    with open_cache() as cache, cache.watch(events.append):
        with cache.watch(events.append):
            put(cache, sample(1).blob)
        twice = kinds(events)
        assert all(count % 2 == 0 for count in twice.values())
        put(cache, sample(2).blob)
        assert sum(kinds(events).values()) == sum(twice.values()) * 3 // 2


def test_a_fetch_that_fails_is_not_counted_as_fetched() -> None:
    layer = sample(1)
    fetch = Fetch(layer.blob)
    fetch.break_after = 100
    events: list[Event] = []
    with open_cache() as cache, cache.watch(events.append):
        with pytest.raises(Exception, match="broke"):
            read(cache.layer(layer.digest, media_type=OCI_LAYER_GZIP, fetch=fetch).compressed())
        assert kinds(events) == {("fetching", "compressed"): 1}
        assert cache.counters.fetched == cache.counters.stored == 0
