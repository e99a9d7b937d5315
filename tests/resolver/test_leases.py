"""Machines that share a far store: one fetches a big blob for all, and none depends on another."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.leases import SharedStore, layer_of, machine, until
from fixtures.stores import Fetch, GatedFetch, Store, assert_idle, content, near, write
from servers.images import make_image, make_layer, noise, write_layout

from layercache.cache import Cache
from layercache.errors import BackendError, ForbiddenError, NotFoundError
from layercache.events import Event
from layercache.oci.digest import Digest
from layercache.resolver import lease_renewal
from layercache.streams.compress import Compression
from layercache.tiers import keys, lease_store, lease_watch
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.lease import Lease
from layercache.tiers.policy import Policy
from layercache.transfer import layer_lock
from layercache.transfer.growing import GivenUpError
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.stores import Action


BLOB = noise(5 << 20)
NAME = Digest.of(BLOB)
HALF = len(BLOB) // 2
LEASE = keys.lease(NAME)
ENDLESS = 1e6


@pytest.fixture
def store() -> SharedStore:
    return SharedStore(MemoryBackend())


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is taken over unless a test shortens the time for it; leases are renewed often."""
    monkeypatch.setattr(lease_watch, "SILENCE", ENDLESS)
    monkeypatch.setattr(lease_watch, "STANDSTILL", ENDLESS)
    monkeypatch.setattr(lease_watch, "SPREAD", 0.0)
    monkeypatch.setattr(lease_watch, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(lease_watch, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(lease_renewal, "RENEWED_EVERY", 0.05)


def read(cache: Cache, fetch: Fetch) -> bytes:
    with layer_of(cache, fetch, BLOB).compressed() as blob:
        return blob.read()


def asked(store: Store) -> list[tuple[Action, str]]:
    """What was asked about leases."""
    return [each for each in store.asked if each[1].startswith(keys.LEASES)]


def test_the_second_machine_waits_for_the_first_and_takes_the_blob_from_the_tier(store: SharedStore) -> None:
    fetch, never = GatedFetch(BLOB, until=HALF), Fetch()
    events: list[Event] = []
    with machine(store) as first, machine(store) as second, ThreadPoolExecutor() as threads:
        leading = threads.submit(read, first, fetch)
        assert fetch.stopped.acquire(timeout=60)
        until(lambda: (held := store.lease(NAME)) and held.received)
        with second.watch(events.append):
            waiting = threads.submit(read, second, never)
            until(lambda: any(event.kind == "waiting" and event.size for event in events))
            fetch.go.set()
            assert leading.result(60) == waiting.result(60) == BLOB
    assert (fetch.asked, never.asked) == ([NAME], [])
    waits = [event for event in events if event.kind == "waiting"]
    assert {(event.name, event.where, event.total) for event in waits} == {(NAME, store.url, len(BLOB))}
    assert {event.note for event in waits} == {Lease.of_this_process(1).host}
    assert [event.size for event in waits] == sorted({event.size for event in waits}), (
        "once for each progress"
    )
    assert LEASE not in content(store), "it goes when the blob is there"


def test_of_eight_machines_one_fetches(store: SharedStore) -> None:
    fetches = [Fetch(BLOB) for _ in range(8)]
    caches = [machine(store) for _ in fetches]
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(read, caches, fetches)) == {BLOB}
    for cache in caches:
        cache.close()
    assert sum(len(fetch.asked) for fetch in fetches) == 1
    assert LEASE not in content(store)


def test_the_holder_pays_four_requests_and_who_finds_the_blob_none(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_renewal, "RENEWED_EVERY", ENDLESS)
    with machine(store) as first:
        read(first, Fetch(BLOB))
    assert asked(store) == [("open", LEASE), ("create", LEASE), ("delete", LEASE)]
    assert store.did("open", "stat", below=keys.blob(NAME)) == 3 * [keys.blob(NAME)], (
        "looked for, looked for again once the lease was free, and before the upload"
    )
    store.asked.clear()
    with machine(store) as second:
        read(second, Fetch())
    assert asked(store) == []


@pytest.mark.parametrize("size", [lease_store.LEASED_FROM - 1, None])
def test_a_blob_that_is_small_or_of_unknown_size_costs_no_request_more(
    store: SharedStore, size: int | None
) -> None:
    data = noise(size or len(BLOB))
    with (
        machine(store) as cache,
        cache.layer(Digest.of(data), fetch=Fetch(data), size=size).compressed() as blob,
    ):
        assert blob.read() == data
    assert asked(store) == []


@pytest.mark.parametrize(
    "policy",
    [
        Policy(keep="compressed", lease=False),
        Policy(readonly=True),
        Policy(keep="uncompressed"),
        Policy(max_size=1 << 20),
    ],
    ids=["lease=false", "readonly", "keeps tars only", "smaller than the blob"],
)
def test_a_tier_that_the_blob_will_not_come_to_has_no_lease_of_it(store: SharedStore, policy: Policy) -> None:
    with machine(store, policy=policy) as cache:
        assert read(cache, Fetch(BLOB)) == BLOB
    assert asked(store) == []


def test_of_two_processes_on_one_disk_one_waits(
    store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two caches in one folder are as two processes: their locks exclude each other."""
    monkeypatch.setattr(layer_lock, "PATIENCE", 0.5)
    monkeypatch.setattr(layer_lock, "BEAT", 0.05)
    write(store.inner, LEASE, Lease.of_this_process(len(BLOB)).encode())
    views = [SharedStore(store.inner) for _ in range(2)]
    caches = [
        Cache((near(LocalBackend(str(tmp_path))), BackendTier(view, Policy(keep="compressed"))))
        for view in views
    ]
    with caches[0], caches[1], ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(read, cache, Fetch()) for cache in caches]
        until(lambda: any(len(asked(view)) > 40 for view in views))  # that is some two seconds
        assert sorted(len(asked(view)) > 0 for view in views) == [False, True]
        write(store.inner, keys.blob(NAME), BLOB)
        store.delete(LEASE)
        assert [each.result(60) for each in waiting] == [BLOB, BLOB]


def test_machines_without_a_disk_share_a_bucket_too(store: SharedStore) -> None:
    fetches = [Fetch(BLOB) for _ in range(4)]
    caches = [Cache((BackendTier(store, Policy(keep="compressed")),)) for _ in fetches]
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(read, caches, fetches)) == {BLOB}
    for cache in caches:
        cache.close()
    assert sum(len(fetch.asked) for fetch in fetches) == 1
    assert LEASE not in content(store)


def test_offline_nobody_takes_a_lease_or_waits(store: SharedStore) -> None:
    write(store.inner, LEASE, Lease.of_this_process(5).encode())
    with machine(store, offline=True) as cache, pytest.raises(NotFoundError):
        read(cache, Fetch(BLOB))
    assert asked(store) == []


def test_what_comes_from_a_file_on_this_machine_needs_no_lease(store: SharedStore, tmp_path: Path) -> None:
    image = make_image([make_layer({"noise": BLOB})])
    write_layout(tmp_path, {"big": image})
    with machine(store) as cache:
        cache.image(f"oci:{tmp_path}:big").layers[0].fill("compressed")
    assert asked(store) == []


# Holders that do not bring the blob


def test_a_machine_whose_reader_leaves_gives_the_lease_back_and_the_next_one_goes_on(
    store: SharedStore,
) -> None:
    fetch, other = GatedFetch(BLOB, until=1 << 20), Fetch(BLOB)
    with machine(store) as first, machine(store) as second, ThreadPoolExecutor() as threads:
        stream = layer_of(first, fetch, BLOB).compressed()
        stream.read(1000)
        waiting = threads.submit(read, second, other)
        until(lambda: len(asked(store)) > 5)
        stream.close()
        assert waiting.result(60) == BLOB
        assert_idle(first)
    assert LEASE not in content(store)


def test_a_holder_that_is_killed_is_replaced_and_the_others_wait_for_its_heir(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "SILENCE", 0.5)
    dead = Lease.of_this_process(len(BLOB)).renewed(HALF, 0)
    write(store.inner, LEASE, dead.encode())
    fetches = [Fetch(BLOB) for _ in range(4)]
    caches = [machine(store) for _ in fetches]
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(read, caches, fetches)) == {BLOB}
    assert 0.5 <= time.monotonic() - begun < 60
    assert sum(len(fetch.asked) for fetch in fetches) == 1
    for cache in caches:
        cache.close()
    assert LEASE not in content(store)


def test_a_blob_of_a_holder_that_was_killed_after_its_upload_is_not_fetched_again(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "SILENCE", 0.3)
    write(store.inner, LEASE, Lease.of_this_process(len(BLOB)).encode())
    never = Fetch()
    with machine(store) as cache, ThreadPoolExecutor() as threads:
        waiting = threads.submit(read, cache, never)
        until(lambda: asked(store))
        write(store.inner, keys.blob(NAME), BLOB)
        assert waiting.result(60) == BLOB
    assert never.asked == []


def test_a_lease_that_is_renewed_for_ever_without_progress_is_taken_over(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "STANDSTILL", 0.3)
    done, planted = threading.Event(), Lease.of_this_process(len(BLOB))

    def renew() -> None:
        lease = planted
        while not done.wait(0.02):
            lease = lease.renewed(0, 0)
            write(store.inner, LEASE, lease.encode())

    with machine(store) as cache, ThreadPoolExecutor() as threads:
        renewing = threads.submit(renew)
        until(lambda: store.lease(NAME))
        assert read(cache, Fetch(BLOB)) == BLOB
        done.set()
        renewing.result()


def test_where_no_holder_can_store_the_blob_everybody_ends_with_a_fetch_of_its_own(
    store: SharedStore,
) -> None:
    store.fails = lambda action, key: action == "commit" and key.startswith(keys.BLOBS)
    fetches = [Fetch(BLOB) for _ in range(8)]
    caches = [machine(store) for _ in fetches]
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(read, caches, fetches)) == {BLOB}
    for cache in caches:
        cache.close()
    assert LEASE not in content(store), "who fails gives it back"


def test_who_waited_in_vain_does_not_wait_for_the_next_layer(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "SHORTEST_LIMIT", 0.2)
    monkeypatch.setattr(lease_watch, "SLOWEST", 1 << 40)
    other = noise(len(BLOB), seed=1)
    for data in (BLOB, other):
        write(store.inner, keys.lease(Digest.of(data)), Lease.of_this_process(len(data)).encode())
    with machine(store) as cache:
        assert read(cache, Fetch(BLOB)) == BLOB
        assert len(asked(store)) > 2
        store.asked.clear()
        with layer_of(cache, Fetch(other), other).compressed() as blob:
            assert blob.read() == other
    assert asked(store) == []


@pytest.mark.parametrize("renewed_every", [0.05, ENDLESS])
def test_a_holder_that_was_taken_over_leaves_the_lease_of_its_heir_alone(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch, renewed_every: float
) -> None:
    """It notices when it renews the lease, or else when it removes it."""
    monkeypatch.setattr(lease_renewal, "RENEWED_EVERY", renewed_every)
    monkeypatch.setattr(lease_renewal, "YOUNG", 0.0)
    fetch = GatedFetch(BLOB, until=HALF)
    with machine(store) as cache, ThreadPoolExecutor() as threads:
        reading = threads.submit(read, cache, fetch)
        assert fetch.stopped.acquire(timeout=60)
        heirs = Lease.of_this_process(len(BLOB)).encode()
        write(store.inner, LEASE, heirs)
        time.sleep(0.2)  # several renewals
        fetch.go.set()
        assert reading.result(60) == BLOB
    assert content(store)[LEASE] == heirs


# Stores that cannot, will not, or lie


@pytest.mark.parametrize("kind", ["without conditional writes", "that ignores conditions"])
def test_at_a_store_without_conditional_writes_each_machine_fetches_for_itself(kind: str) -> None:
    memory = MemoryBackend()
    fetches = [Fetch(BLOB) for _ in range(4)]
    store = Store(memory) if kind.startswith("without") else SharedStore(memory, honest=False)
    for fetch in fetches:
        write(store, LEASE, Lease.of_this_process(len(BLOB)).encode())  # planted, and of no effect
        store.asked.clear()
        with machine(store) as cache:
            assert read(cache, fetch) == BLOB
        memory.delete(keys.blob(NAME))
        assert (fetch.asked, asked(store)) == ([NAME], [])


@pytest.mark.parametrize("error", [BackendError, ForbiddenError])
@pytest.mark.parametrize("failing", ["open", "create"])
def test_a_store_that_fails_at_leases_stops_nobody(
    store: SharedStore, failing: str, error: type[BackendError]
) -> None:
    def fails(action: Action, key: str) -> bool:
        if action == failing and key.startswith(keys.LEASES):
            raise error("no leases here")
        return False

    store.fails = fails
    events: list[Event] = []
    with machine(store) as cache, cache.watch(events.append):
        assert read(cache, Fetch(BLOB)) == BLOB
        other = noise(len(BLOB), seed=1)
        with layer_of(cache, Fetch(other), other).compressed() as blob:
            assert blob.read() == other
    assert len([event for event in events if event.kind == "failed"]) == 1, "reported once"
    assert len(asked(store)) == (1 if failing == "open" else 2), "and not asked again"
    if error is ForbiddenError:
        assert keys.blob(NAME) in content(store), "who may write blobs, but no leases, still does"


def test_an_object_that_is_too_big_to_be_a_lease_stops_nobody(store: SharedStore) -> None:
    write(store.inner, LEASE, bytes(20 << 20))
    events: list[Event] = []
    with machine(store) as cache, cache.watch(events.append):
        assert read(cache, Fetch(BLOB)) == BLOB
    assert [event.name for event in events if event.kind == "failed"] == [NAME]


# Waiting itself


def test_a_cache_that_is_closed_does_not_wait_any_longer(store: SharedStore) -> None:
    write(store.inner, LEASE, Lease.of_this_process(len(BLOB)).encode())
    cache = machine(store)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(read, cache, Fetch(BLOB))
        until(lambda: asked(store))
        cache.close(flush=False)
        with pytest.raises(GivenUpError):
            waiting.result(60)


def test_an_interrupted_machine_gives_its_leases_back(store: SharedStore) -> None:
    fetch = GatedFetch(BLOB, until=HALF)
    cache = machine(store)
    stream = layer_of(cache, fetch, BLOB).compressed()
    stream.read(1000)
    assert store.lease(NAME)
    cache.close(flush=False)
    fetch.go.set()
    assert LEASE not in content(store)


def test_machines_that_read_two_layers_crosswise_do_not_wait_for_each_other(store: SharedStore) -> None:
    blobs = [BLOB, noise(len(BLOB), seed=1)]
    ready, events = threading.Barrier(2), list[Event]()

    def cross(number: int) -> None:
        fetch = Fetch(*blobs)
        with machine(store) as cache, cache.watch(events.append):
            mine, other = blobs[number], blobs[1 - number]
            with layer_of(cache, fetch, mine).compressed() as stream:
                stream.read(1000)
                ready.wait(60)
                with layer_of(cache, fetch, other).compressed() as inner:
                    assert inner.read() == other
                ready.wait(60)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(cross, (0, 1))) == [None, None]
    assert [event for event in events if event.kind == "waiting"] == []
    assert {event.kind for event in events} >= {"fetching", "fetched"}


def test_a_plain_tar_that_the_tier_keeps_recompressed_is_waited_for_too(store: SharedStore) -> None:
    layer = make_layer({"text": b"words " * 1_000_000}, "none")
    policy = Policy(keep="compressed", recompress=Compression.of("zstd"))
    fetch, never = GatedFetch(layer.blob, until=1 << 20), Fetch()

    def pull(cache: Cache, fetch: Fetch) -> bytes:
        found = cache.layer(layer.digest, fetch=fetch, size=len(layer.blob), diff_id=layer.diff_id)
        with found.compressed() as blob:
            return blob.read()

    with (
        machine(store, policy=policy) as first,
        machine(store, policy=policy) as second,
        ThreadPoolExecutor() as threads,
    ):
        leading = threads.submit(pull, first, fetch)
        assert fetch.stopped.acquire(timeout=60)
        waiting = threads.submit(pull, second, never)
        until(lambda: len(asked(store)) > 5)
        fetch.go.set()
        assert leading.result(60) == waiting.result(60) == layer.blob
    assert never.asked == []
    assert keys.blob(layer.digest) not in content(store)
