"""A tier that fails costs no request its answer: it is passed over, told of once, left alone for a while."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import large, put, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    assert_idle,
    blobs,
    content,
    evict,
    far,
    near,
    open_cache,
    refuses_writes,
    write_blob,
)

from layercache import BackendError, ConfigError, NotFoundError
from layercache.backend import CircuitBreaker
from layercache.cache import Cache
from layercache.tiers import keys
from layercache.tiers.tolerant import TIER_REST
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.events import Event
    from layercache.tiers.tier import Tier

LAYER = sample(1)
FORMS = ("compressed", "uncompressed")


def a_store(url: str = "store://far", *, holds: bool = True) -> Store:
    store = Store(MemoryBackend(), url=url)
    if holds:
        write_blob(store.inner, LAYER.digest, LAYER.blob)
    return store


def strict(*tiers: Tier) -> Cache:
    return Cache(tiers, strict=True)


@pytest.mark.parametrize("action", ["open", "read"])
def test_a_tier_that_cannot_be_read_is_a_miss_that_is_told_of_once(action: str) -> None:
    broken, sound = a_store("store://broken"), a_store("store://sound")
    broken.fails = lambda did, _key: did == action
    events: list[Event] = []
    with open_cache(near(), far(broken), far(sound)) as cache, cache.watch(events.append):
        for _ in range(3):
            assert read(cache.layer(LAYER.digest).uncompressed()) == LAYER.tar
            cache.delete(LAYER.digest)
        failed = [event for event in events if event.kind == "failed"]
        assert [(event.name, event.where) for event in failed] == [(None, "store://broken")]
        assert "on purpose" in failed[0].note
        assert cache.counters.failed == 1


def test_of_requests_that_fail_at_the_same_time_one_reports_it() -> None:
    events: list[Event] = []
    with open_cache(near(), far(a_store())) as cache, cache.watch(events.append):
        for writing in (True, False, False):
            cache._asked[1].mark_failed(BackendError("it fails"), writing=writing)
    assert [(event.kind, event.where, event.note) for event in events] == [
        ("failed", "store://far", "it fails")
    ]


def test_a_tier_that_failed_is_not_asked_before_its_rest_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("layercache.backend.circuit_breaker.time.monotonic", lambda: now[0])
    store = a_store()
    store.fails = lambda _did, _key: True
    with open_cache(near(), far(store)) as cache:
        for _ in range(2):
            with pytest.raises(BackendError, match="store://far"):
                cache.get(LAYER.digest)
        asked = len(store.asked)
        store.fails = lambda _did, _key: False
        now[0] += TIER_REST - 1
        with pytest.raises(BackendError, match="store://far"):
            cache.get(LAYER.digest)
        assert len(store.asked) == asked
        now[0] += 2
        assert read(cache.get(LAYER.digest).compressed()) == LAYER.blob


def test_what_no_tier_has_is_absent_only_if_every_tier_could_be_asked() -> None:
    store = a_store(holds=False)
    with open_cache(near(), far(store)) as cache:
        with pytest.raises(NotFoundError):
            cache.get(LAYER.digest)
        store.fails = lambda _did, _key: True
        with pytest.raises(BackendError, match=r"could be asked; store://far: .* on purpose") as caught:
            cache.get(LAYER.digest)
        assert isinstance(caught.value.__cause__, BackendError)
        assert caught.value.looked_in == ("memory://",)
        with pytest.raises(BackendError):
            assert LAYER.digest in cache
        with pytest.raises(BackendError):
            read(cache.layer(LAYER.digest).compressed())


def test_a_warm_hit_nearby_asks_nothing_of_a_far_tier() -> None:
    store = a_store(holds=False)
    with open_cache(near(), far(store)) as cache:
        put(cache, LAYER.blob)
        cache.flush()
        store.asked.clear()
        store.fails = lambda _did, _key: True
        for name in (LAYER.digest, LAYER.diff_id):
            assert name in cache
            layer = cache.get(name)
            layer.fill("both")
            assert read(layer.compressed()) == LAYER.blob
            assert read(layer.uncompressed()) == LAYER.tar
        assert not store.asked


@pytest.mark.parametrize("form", FORMS)
def test_a_far_tier_that_breaks_in_mid_stream_is_gone_on_from_by_the_next_at_the_same_byte(form: str) -> None:
    layer = large(1)
    breaking, sound = (
        Store(MemoryBackend(), url="store://breaking"),
        Store(MemoryBackend(), url="store://sound"),
    )
    for store in (breaking, sound):
        write_blob(store.inner, layer.digest, layer.blob)
    offsets: list[int] = []
    opening = sound.inner.open

    def open_at(key: str, start: int = 0, end: int | None = None) -> object:
        if key == keys.blob(layer.digest):
            offsets.append(start)
        return opening(key, start, end)

    sound.inner.open = open_at  # type: ignore[method-assign, assignment]
    breaking.fails = lambda did, _key: did == "read" and len(breaking.did("read", below=keys.BLOBS)) > 3
    with open_cache(near(), far(breaking), far(sound)) as cache:
        asked = cache.layer(layer.digest)
        stream = asked.compressed() if form == "compressed" else asked.uncompressed()
        assert read(stream) == (layer.blob if form == "compressed" else layer.tar)
        assert layer.digest in blobs(cache.tiers[0])
        assert len(offsets) == 1
        assert 0 < offsets[0] < len(layer.blob)


def test_the_origin_goes_on_where_the_last_tier_breaks() -> None:
    layer, breaking = large(1), Store(MemoryBackend())
    write_blob(breaking.inner, layer.digest, layer.blob)
    breaking.fails = lambda did, _key: did == "read" and len(breaking.did("read", below=keys.BLOBS)) > 3
    fetch = Fetch(layer.blob)
    with open_cache(near(), far(breaking)) as cache:
        assert read(cache.layer(layer.digest, fetch=fetch).uncompressed()) == layer.tar
        assert fetch.asked == [layer.digest]
        assert cache.counters.failed == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_full_disk_stops_no_reader_and_the_next_tier_is_filled(form: str, room: int) -> None:
    """The nearest tier takes some writes, then none: whoever reads gets all of it, and others keep it."""
    layer, full, bucket = large(1), Spooling(room), Store(MemoryBackend(), url="store://bucket")
    with open_cache(near(full), far(bucket)) as cache:
        asked = cache.layer(layer.digest, fetch=Fetch(layer.blob))
        stream = asked.compressed() if form == "compressed" else asked.uncompressed()
        assert read(stream) == (layer.blob if form == "compressed" else layer.tar)
        cache.flush()
        assert not blobs(full)
        assert layer.digest in blobs(bucket.inner)
        assert_idle(cache)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_disk_that_was_full_for_a_moment_gets_no_blob_of_which_a_part_is_missing(
    form: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its rest is over before the last bytes come: then it could be written to again."""
    monkeypatch.setattr(CircuitBreaker, "why", None)
    layer, full = large(1), Spooling(room, torn=False)
    with open_cache(near(full)) as cache:
        asked = cache.layer(layer.digest, fetch=Fetch(layer.blob))
        stream = asked.compressed() if form == "compressed" else asked.uncompressed()
        assert read(stream) == (layer.blob if form == "compressed" else layer.tar)
        assert not blobs(full)


def test_a_full_disk_still_serves_what_it_has() -> None:
    full = Spooling(1000)
    with open_cache(near(full)) as cache:
        put(cache, LAYER.blob)
        full.room = 0
        other = cache.layer(sample(2).digest, fetch=Fetch(sample(2).blob))
        assert read(other.uncompressed()) == sample(2).tar
        assert read(cache.get(LAYER.diff_id).uncompressed()) == LAYER.tar
        assert cache.counters.failed == 1


def test_a_fill_that_no_tier_could_keep_fails() -> None:
    full = Spooling(0)
    with open_cache(near(full)) as cache:
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        with pytest.raises(BackendError, match="no room"):
            layer.fill("compressed")
        with pytest.raises(BackendError, match="no room"):
            put(cache, LAYER.blob)


# Strict


def test_strict_makes_a_failing_tier_an_error() -> None:
    broken, sound = a_store("store://broken"), a_store("store://sound")
    broken.fails = lambda did, _key: did in ("open", "scan", "stat")
    with (
        strict(near(), far(broken), far(sound)) as cache,
        pytest.raises(BackendError, match="store://broken"),
    ):
        read(cache.layer(LAYER.digest).compressed())


def test_strict_raises_from_a_flush_what_failed_in_the_background() -> None:
    store = a_store(holds=False)
    store.fails = refuses_writes
    cache = strict(near(), far(store))
    put(cache, LAYER.blob)
    with pytest.raises(BackendError, match="store://far"):
        cache.close()
    cache.close()


# In the background


class Gate:
    """For `Store.fails`: writes wait until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()

    def __call__(self, action: str, _key: str) -> bool:
        if action == "create":
            self.reached.set()
            assert self.opened.wait(60)
        return False


def test_remote_tiers_are_filled_in_the_background_and_flushed_by_close() -> None:
    store, gate = a_store(holds=False), Gate()
    store.fails = gate
    with open_cache(near(), far(store)) as cache:
        put(cache, LAYER.blob)  # returns though the bucket takes nothing yet
        assert gate.reached.wait(60)
        assert not blobs(store.inner)
        gate.opened.set()
    assert LAYER.digest in blobs(store.inner)


def test_what_waits_for_a_remote_tier_is_safe_from_eviction() -> None:
    store, gate = a_store(holds=False), Gate()
    store.fails = gate
    with open_cache(near(), far(store)) as cache:
        put(cache, LAYER.blob)
        assert gate.reached.wait(60)
        evict(cache.tiers[0], LAYER.digest)
        evict(cache.tiers[0], LAYER.diff_id)
        gate.opened.set()
    assert LAYER.digest in blobs(store.inner)


def test_an_interrupt_does_not_wait_for_uploads_that_have_not_begun() -> None:
    store, gate = a_store(holds=False), Gate()
    store.fails = gate
    layers = [sample(number) for number in range(1, 12)]

    def work() -> None:
        with open_cache(near(), far(store)) as cache:
            for layer in layers:
                put(cache, layer.blob)
            assert gate.reached.wait(60)
            threading.Timer(0.2, gate.opened.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(blobs(store.inner)) < len(layers)


def test_a_fact_follows_its_blob_into_a_remote_tier() -> None:
    store = a_store(holds=False)
    with open_cache(near(), far(store, "compressed")) as cache:
        for number in range(1, 9):
            layer = sample(number)
            cache.layer(layer.digest, diff_id=layer.diff_id, fetch=Fetch(layer.blob)).fill("both")
    created = store.did("create")
    for number in range(1, 9):
        layer = sample(number)
        blob, fact = keys.blob(layer.digest), keys.record(layer.digest)
        assert created.index(blob) < created.index(fact)


def test_a_delete_in_every_tier_waits_for_what_is_on_its_way_there() -> None:
    store = a_store(holds=False)
    with open_cache(near(), far(store)) as cache:
        put(cache, LAYER.blob)
        cache.delete(LAYER.diff_id, all_tiers=True)
    assert content(store.inner) == {}


# What a remote tier is asked for


def test_a_tar_is_made_of_the_blob_next_to_it_rather_than_brought_from_afar() -> None:
    store = a_store(holds=False)
    with open_cache(near(keep="both"), far(store, "both")) as cache:
        put(cache, LAYER.blob)
        cache.flush()
        cache.delete(LAYER.diff_id)
        store.asked.clear()
        assert read(cache.get(LAYER.diff_id).uncompressed()) == LAYER.tar
        assert set(store.did("read", below=keys.BLOBS)) == {keys.blob(LAYER.digest)}


def test_a_cache_whose_tiers_are_all_read_only_says_so_and_not_that_one_failed() -> None:
    with open_cache(near(readonly=True)) as cache, pytest.raises(ConfigError):
        cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).fill("compressed")


class Spooling(MemoryBackend):
    """A store on a small disk: it takes this many writes, then it is full.

    ``torn``: of the first that fails a half is written.
    """

    def __init__(self, room: int, *, torn: bool = True) -> None:
        super().__init__()
        self.room = room
        self.torn = torn

    def spool(self) -> FullSpool:  # type: ignore[override]
        return FullSpool(self)


class FullSpool:
    def __init__(self, store: Spooling) -> None:
        self._store = store
        self._inner = MemoryBackend.spool(store)
        self.readinto_at = self._inner.readinto_at
        self.publish = self._inner.publish
        self.close = self._inner.close

    def write(self, data: bytes) -> None:
        self._store.room -= 1
        if self._store.room < 0:
            if self._store.torn:
                self._inner.write(memoryview(data)[: len(data) // 2])
            raise BackendError(f"{self._store.url}: no room is left")
        self._inner.write(data)
