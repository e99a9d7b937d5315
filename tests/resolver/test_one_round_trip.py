"""A remote tier is asked for the record and the blob of a name at once, and that response is read."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, large, put, read, sample
from fixtures.stores import Fetch, Store, fact, far, near, open_cache, write_blob

from layercache import BackendError, DiffID, Digest, NotFoundError
from layercache.cache import Cache
from layercache.resolver import finder, responses
from layercache.streams.readers import WrappingReader
from layercache.testing.children import in_forked_child
from layercache.tiers import keys
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.events import Event
    from layercache.tiers.backend.tier import BackendTier

LAYER = sample(1)
BLOB, TAR = keys.blob(LAYER.digest), keys.blob(LAYER.diff_id)


class Closing(Store):
    """A store that knows which of its readers are open."""

    def __init__(self, fails: Callable[[str, str], bool] = lambda _action, _key: False) -> None:
        super().__init__(MemoryBackend(), fails=fails)
        self.open_readers: list[str] = []

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        reader = super().open(key, start, end)
        self.open_readers.append(key)
        return _Watched(reader, lambda: self.open_readers.remove(key))

    @property
    def open_blobs(self) -> list[str]:
        gc.collect()
        return [key for key in self.open_readers if key.startswith(keys.BLOBS)]


class _Watched(WrappingReader):
    def __init__(self, raw: Reader, closed: Callable[[], object]) -> None:
        super().__init__(raw, raw.size)
        self._closed = closed

    def read(self, size: int = -1, /) -> bytes:
        return self._raw.read(size)

    def close(self) -> None:
        super().close()
        closed, self._closed = self._closed, lambda: None
        closed()


def filled(store: Store) -> BackendTier:
    """A far tier with both forms of the layer, and what is known of it."""
    tier = far(store)
    with open_cache(tier) as cache:
        put(cache, LAYER.blob)
    store.asked.clear()
    return tier


def is_question(key: str) -> bool:
    """Whether the object holds facts."""
    return not key.startswith(keys.BLOBS)


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        ("get", LAYER.digest),
        ("get", LAYER.diff_id),
        ("in", LAYER.digest),
        ("in", LAYER.diff_id),
        ("layer", LAYER.digest),
    ],
)
def test_record_and_blob_of_a_name_are_asked_for_at_once(ask: str, name: str) -> None:
    begun = {True: threading.Event(), False: threading.Event()}
    alone: list[str] = []

    def fails(action: str, key: str) -> bool:
        if action in ("open", "stat", "scan"):
            begun[is_question(key)].set()
            if not begun[not is_question(key)].wait(60):
                alone.append(key)
        return False

    store = Store(MemoryBackend())
    tier = filled(store)
    store.fails = fails
    with open_cache(near(), tier) as cache:
        assert (name in cache) if ask == "in" else getattr(cache, ask)(name)
    assert alone == []


@pytest.mark.parametrize("layer", [sample(1), large(1)], ids=["small", "large"])
def test_the_response_that_showed_that_the_blob_is_there_is_what_is_read(layer: Layer) -> None:
    store = Closing()
    with open_cache(far(store)) as cache:
        put(cache, layer.blob)
    store.asked.clear()
    with open_cache(near(), far(store)) as cache:
        assert read(cache.get(layer.digest).compressed()) == layer.blob
    assert store.did("open", "stat", below=keys.BLOBS) == [keys.blob(layer.digest)]
    store.asked.clear()
    with open_cache(near(), far(store)) as cache:
        assert read(cache.get(layer.digest).uncompressed()) == layer.tar
    assert store.did("open", "stat", below=keys.BLOBS) == [keys.blob(layer.digest)]
    assert store.open_blobs == []


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_of_a_layer_by_its_digest_alone_record_and_blob_are_asked_for_once(form: str) -> None:
    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        layer = cache.layer(LAYER.digest)
        assert layer.diff_id == LAYER.diff_id
        with getattr(layer, form)() as stream:
            assert stream.read() == (LAYER.blob if form == "compressed" else LAYER.tar)
    assert sorted(store.did("open", "stat")) == [BLOB, keys.record(LAYER.digest)]
    assert store.open_blobs == []


def test_what_was_just_found_to_be_missing_is_asked_for_once_and_then_fetched() -> None:
    store, fetch = Closing(), Fetch(LAYER.blob)
    tier = far(store)
    with open_cache(near(), tier) as cache:
        layer = cache.layer(LAYER.digest, fetch=fetch)
        with layer.compressed() as stream:
            assert stream.read() == LAYER.blob
    assert fetch.asked == [LAYER.digest]
    assert store.did("open", below=keys.BLOBS) == [BLOB]


def test_what_came_since_it_was_looked_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Closing()
    tier = far(store)
    with open_cache(near(), tier) as cache:
        layer = cache.layer(LAYER.digest)
        write_blob(tier, LAYER.digest, LAYER.blob)
        with pytest.raises(NotFoundError):
            read(layer.compressed())
        assert read(layer.compressed()) == LAYER.blob, "a second try asks anew"
        monkeypatch.setattr(responses, "ABSENT_FOR", 0.0)
        layer = cache.layer((other := sample(2)).digest)
        write_blob(tier, other.digest, other.blob)
        assert read(layer.compressed()) == other.blob


def test_a_tar_that_is_there_is_given_up_unread_where_its_blob_is_what_is_read() -> None:
    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        assert read(cache.get(LAYER.diff_id).uncompressed()) == LAYER.tar
        assert store.did("open", "stat", below=keys.BLOBS) == [TAR, BLOB]
        assert set(store.did("read", below=keys.BLOBS)) == {BLOB}
        assert store.open_blobs == []


def test_to_ask_whether_a_name_is_cached_opens_no_blob() -> None:
    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        assert LAYER.digest in cache
        assert store.did("stat") == [BLOB]
        assert store.did("open", below=keys.BLOBS) == []


def test_what_is_stated_is_not_asked_again() -> None:
    store = Closing()
    tier = filled(store)
    for form, right in (("compressed", LAYER.blob), ("uncompressed", LAYER.tar)):
        store.asked.clear()
        with open_cache(near(), tier) as cache:
            layer = cache.layer(LAYER.digest, diff_id=LAYER.diff_id)
            assert store.asked == []
            assert read(getattr(layer, form)()) == right
        assert [key for action, key in store.asked if action != "read"] == [BLOB]


def test_a_fill_of_what_is_there_is_one_request_that_transfers_nothing() -> None:
    store = Closing()
    with open_cache(filled(store)) as cache:
        cache.layer(LAYER.digest, diff_id=LAYER.diff_id).fill("compressed")
        assert cache.counters.hits == 1
    assert store.asked == [("stat", BLOB)]


def test_a_fill_after_a_look_up_takes_its_response_for_an_answer() -> None:
    store = Closing()
    with open_cache(filled(store)) as cache:
        layer = cache.get(LAYER.digest)
        store.asked.clear()
        layer.fill("compressed")
        assert store.asked == []
        assert store.open_blobs == []


def test_a_far_tier_is_not_asked_where_a_nearer_one_has_the_blob_and_says_so() -> None:
    first, second = Closing(), Closing()
    write_blob(first.inner, LAYER.digest, LAYER.blob)
    tiers = [near(), far(first), filled(second)]
    with open_cache(*tiers) as cache:
        assert read(cache.get(LAYER.digest).compressed()) == LAYER.blob
        assert second.asked == []


def test_of_several_far_tiers_the_next_is_asked_for_both_where_one_has_nothing() -> None:
    first, second = Closing(), Closing()
    tiers = [near(), far(first), filled(second)]
    with open_cache(*tiers) as cache:
        assert read(cache.get(LAYER.digest).compressed()) == LAYER.blob
        assert second.did("open", "stat", below=keys.BLOBS) == [BLOB]
        assert set(first.did("open", "stat", below=keys.BLOBS)) == {BLOB}


def test_what_nobody_reads_is_closed_when_the_layer_is_let_go() -> None:
    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        layer = cache.get(LAYER.digest)
        assert store.open_blobs == [BLOB]
        del layer
        assert store.open_blobs == []
        assert store.did("read", below=keys.BLOBS) == []


def test_what_nobody_reads_is_closed_with_the_cache() -> None:
    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        layer = cache.get(LAYER.digest)
        assert store.open_blobs == [BLOB]
    assert store.open_blobs == []
    assert layer.digest == LAYER.digest


def test_however_many_layers_are_looked_up_a_few_responses_are_open() -> None:
    store, samples = Closing(), [sample(number) for number in range(30)]
    for each in samples:
        write_blob(store.inner, each.digest, each.blob)
    with open_cache(near(), far(store)) as cache:
        layers = [cache.get(each.digest) for each in samples]
        assert len(store.open_blobs) == finder.HELD
        for layer, each in zip(layers, samples, strict=True):
            assert read(layer.compressed()) == each.blob
        assert store.open_blobs == []


def test_a_response_that_waited_for_long_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "HELD_FOR", -1.0)
    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        assert read(cache.get(LAYER.digest).compressed()) == LAYER.blob
        assert store.did("open", below=keys.BLOBS) == [BLOB, BLOB]
        assert store.open_blobs == []


def test_two_threads_that_read_one_layer_take_its_response_once() -> None:
    store, right = Closing(), []
    with open_cache(near(), filled(store)) as cache:
        layer = cache.get(LAYER.digest)
        threads = [threading.Thread(target=lambda: right.append(read(layer.compressed()))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert right == [LAYER.blob] * 8
    assert store.open_blobs == []


def test_wrong_bytes_of_the_response_are_found_out_as_any_others() -> None:
    store, behind = Closing(), Closing()
    first = filled(store)
    write_blob(store.inner, LAYER.digest, LAYER.blob[:-1] + b"?")
    with open_cache(near(), first, filled(behind)) as cache:
        assert read(cache.get(LAYER.digest).compressed()) == LAYER.blob


def test_responses_to_look_ups_of_other_claims_are_given_up_too() -> None:
    store, other = Closing(), sample(2)
    tier = far(store)
    for each in (other, LAYER):  # the first is a lie
        write_blob(store.inner, each.digest, each.blob)
        tier.facts.record(fact(each.digest, LAYER.diff_id, len(each.blob)))
    write_blob(store.inner, LAYER.diff_id, LAYER.tar)
    with open_cache(near(), tier) as cache:
        layer = cache.get(LAYER.diff_id)
        layer.fill("compressed")
        assert layer.digest == LAYER.digest
        assert store.open_blobs == []


def test_a_response_of_another_size_than_is_stated_is_not_taken() -> None:
    store, fetch = Closing(), Fetch(LAYER.blob)
    tier = filled(store)
    write_blob(store.inner, LAYER.digest, LAYER.blob + b"?")
    with open_cache(near(), tier) as cache:
        stated = cache.layer(LAYER.digest, diff_id=LAYER.diff_id, size=len(LAYER.blob), fetch=fetch)
        assert read(stated.compressed()) == LAYER.blob
        assert fetch.asked == [LAYER.digest]
    assert store.open_blobs == []


@pytest.mark.parametrize("broken", ["record", "blob"])
@pytest.mark.parametrize("strict", [False, True])
def test_one_of_the_two_requests_fails(broken: str, strict: bool) -> None:
    store = Closing()
    events: list[Event] = []
    tier = filled(store)
    both = threading.Event()

    def fails(action: str, key: str) -> bool:
        if action != "open":
            return False
        if not is_question(key):
            both.set()
        elif broken == "record":
            both.wait(60)  # a tier that has failed would not be asked for the blob
        return is_question(key) == (broken == "record")

    store.fails = fails
    with Cache((near(), tier), strict=strict) as cache, cache.watch(events.append):
        if broken == "record" and not strict:
            assert read(cache.get(LAYER.digest).compressed()) == LAYER.blob
        else:
            with pytest.raises(BackendError, match="on purpose"):
                cache.get(LAYER.digest)
        assert store.open_blobs == []
    assert sum(event.kind == "failed" for event in events) == (0 if strict else 1), "it is reported once"


def test_a_look_up_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        monkeypatch.setattr(threading.Thread, "start", start)
        assert read(cache.get(LAYER.digest).compressed()) == LAYER.blob
        monkeypatch.undo()


def test_a_forked_child_leaves_its_parents_responses_alone() -> None:
    store = Closing()
    with open_cache(near(), filled(store)) as cache:
        layer = cache.get(LAYER.digest)

        def child() -> str:
            assert read(layer.compressed()) == LAYER.blob
            return ", ".join(store.did("open", below=keys.BLOBS))

        assert in_forked_child(child) == f"{BLOB}, {BLOB}"
        assert read(layer.compressed()) == LAYER.blob
        assert store.did("open", below=keys.BLOBS) == [BLOB]


def test_of_many_planted_digests_two_are_asked_for_one_after_the_other() -> None:
    store, at_once = Closing(), threading.Barrier(8)
    tier = far(store)
    for number in range(9):
        tier.facts.record(fact(Digest.of(b"%d" % number), DiffID(LAYER.diff_id), 1))
    store.fails = lambda action, _key: action == "stat" and at_once.wait(60) < 0
    with open_cache(near(), tier) as cache, pytest.raises(NotFoundError):
        cache.get(LAYER.diff_id)
    assert len(store.did("open", below=keys.BLOBS)) == 2
