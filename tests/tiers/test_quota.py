"""A tier keeps within its limits by itself: what goes first, what is spared, what is counted."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.layers import put, read, sample
from fixtures.stocked import HOUR, blobs, data_of, grow_old, in_memory, on_disk, stock, used
from fixtures.stores import Fetch, Store, fact, open_cache

from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.documents import find_document, read_document
from layercache.tiers.policy import Policy
from layercache.tiers.quota import LOCK, RECOUNT
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Sample

Make = "Callable[..., BackendTier]"


@pytest.fixture(params=["disk", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., BackendTier]:
    return (lambda **limits: on_disk(tmp_path, **limits)) if request.param == "disk" else in_memory


def add(tier: BackendTier, seed: int, size: int = 100) -> Hash:
    data = data_of(seed, size)
    tier.blobs.put(Hash.of(data), data)
    return Hash.of(data)


def test_what_was_not_used_for_the_longest_time_goes_first(make: Callable[..., BackendTier]) -> None:
    tier = make(max_size=1000)
    ages = {3: 5 * HOUR, 1: 9 * HOUR, 2: 7 * HOUR}
    names = {seed: stock(tier, seed, 300, age=age) for seed, age in ages.items()}
    new = add(tier, 9, 300)
    assert blobs(tier) == {names[3], names[2], new}
    assert used(tier) <= 1000


def test_room_is_made_for_some_more_than_is_needed(make: Callable[..., BackendTier]) -> None:
    tier = make(max_size=1000)
    for seed in range(10):
        stock(tier, seed, 100, age=HOUR + seed)
    add(tier, 50, 10)
    assert used(tier) == 810


def test_tars_that_can_be_made_again_go_before_all_else(make: Callable[..., BackendTier]) -> None:
    tier = make(max_size=1000)
    old_blob = stock(tier, 1, 300, age=9 * HOUR)
    tar = stock(tier, 2, 300, age=2 * HOUR)
    lonely_tar = stock(tier, 3, 300, age=8 * HOUR)
    tier.facts.record(fact(Digest(old_blob), DiffID(tar), 300, tar_size=300))
    tier.facts.record(fact(Digest(Hash.of(b"gone")), DiffID(lonely_tar), 300, tar_size=300))
    new = add(tier, 9, 200)
    assert blobs(tier) == {old_blob, lonely_tar, new}


def test_an_images_documents_go_last(make: Callable[..., BackendTier], sample: Sample) -> None:
    tier = make()
    with open_cache(tier) as cache:
        image = cache.image(f"oci:{sample.layout}:image")
        for layer in image.layers:
            layer.fill("compressed")
    tier.images.tag("images/host/name/_tags/latest", image.descriptor)
    documents = {image.digest, Digest(image.manifest["config"]["digest"])}
    for name in blobs(tier):
        grow_old(tier, name, 99 * HOUR if name in documents else HOUR)
    size = sum(tier.blobs.stat(name).size for name in documents)
    small = BackendTier(tier.backend, Policy(max_size=size + 100))
    new = add(small, 1, 10)
    assert blobs(small) == {*documents, new}


def test_what_is_young_is_spared_while_there_is_another(make: Callable[..., BackendTier]) -> None:
    tier = make(max_size=1000)
    young_tar, old = stock(tier, 1, 500, age=1), stock(tier, 2, 400)
    tier.facts.record(fact(Digest(old), DiffID(young_tar), 400, tar_size=500))
    new = add(tier, 3, 200)
    assert blobs(tier) == {young_tar, new}


def test_the_limit_counts_for_more_than_youth(make: Callable[..., BackendTier]) -> None:
    tier = make(max_size=1000)
    names = [stock(tier, seed, 300, age=9 - seed) for seed in range(3)]
    new = add(tier, 9, 300)
    assert blobs(tier) == {*names[1:], new}


def test_a_use_keeps_a_blob(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=1000)
    first, second, third = (stock(tier, seed, 300, age=HOUR * (9 - seed)) for seed in range(3))
    with tier.blobs.open(first) as reader:
        reader.read(1)
    add(tier, 9, 300)
    assert first in blobs(tier)
    assert second not in blobs(tier)
    assert third in blobs(tier)


def test_a_blobs_time_is_refreshed_once_however_often_it_is_used(tmp_path: Path) -> None:
    tier = on_disk(tmp_path)
    name = stock(tier, 1, age=HOUR)
    tier.blobs.open(name).close()
    assert tier.blobs.stat(name).modified > time.time() - 60
    grow_old(tier, name, 30)
    before = tier.blobs.stat(name)
    tier.blobs.open(name).close()
    assert tier.blobs.stat(name) == before


def test_maintenance_does_not_count_as_a_use(tmp_path: Path) -> None:
    """Else one `put`, which rewrites index.json, would keep every manifest from growing old."""
    tier = on_disk(tmp_path)
    name = stock(tier, 1, age=HOUR)
    before = tier.blobs.stat(name)
    tier.blobs.inspect(name).close()
    read_document(tier, Digest(name))
    assert tier.blobs.stat(name) == before
    find_document([tier], Digest(name))
    assert tier.blobs.stat(name).modified > before.modified


def test_a_read_only_tier_is_not_touched(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, readonly=True)
    name = stock(tier, 1)
    before = tier.blobs.stat(name)
    tier.blobs.open(name).close()
    assert tier.blobs.stat(name) == before


def test_what_is_too_old_goes_with_the_next_blob_that_comes(make: Callable[..., BackendTier]) -> None:
    tier = make(max_age=10 * HOUR)
    old, newer = stock(tier, 1, age=11 * HOUR), stock(tier, 2, age=9 * HOUR)
    new = add(tier, 3)
    assert blobs(tier) == {newer, new}
    assert old not in blobs(tier)


def test_a_layer_that_is_too_big_is_served_and_not_kept(make: Callable[..., BackendTier]) -> None:
    layer, small = sample(1, size=5000), sample(2, size=300)
    tier = make(max_size=4000)
    with open_cache(tier) as cache:
        put(cache, small.blob)
        before = blobs(tier)
        fetch = Fetch(layer.blob)
        got = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch)
        assert read(got.uncompressed()) == layer.tar
        assert read(got.compressed()) == layer.blob
        assert cache.counters.failed == 0
    assert blobs(tier) == before
    assert [each.diff_id for each in tier.facts.scan() if each.digest == layer.digest] == [layer.diff_id]


def test_what_is_too_big_for_the_nearest_tier_is_kept_by_the_next(tmp_path: Path) -> None:
    layer = sample(1, size=5000)
    near, far = on_disk(tmp_path / "near", max_size=1000), on_disk(tmp_path / "far")
    with open_cache(near, far) as cache:
        put(cache, layer.blob)
    assert blobs(near) == set()
    assert blobs(far) == {layer.digest, layer.diff_id}


def test_what_was_evicted_comes_again(make: Callable[..., BackendTier]) -> None:
    layers = [sample(seed, size=3000) for seed in range(4)]
    tier = make(max_size=9000)
    with open_cache(tier) as cache:
        for _ in range(2):
            for layer in layers:
                got = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=Fetch(layer.blob))
                assert read(got.uncompressed()) == layer.tar
                assert used(tier) <= 9000


def test_a_blob_that_goes_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=1000)
    name = stock(tier, 1, 900)
    with tier.blobs.open(name) as reader:
        start = reader.read(10)
        add(tier, 2, 900)
        assert name not in blobs(tier)
        assert start + reader.read() == data_of(1, 900)


def test_facts_and_images_stay(make: Callable[..., BackendTier]) -> None:
    layer = sample(1, size=3000)
    tier = make(max_size=8000)
    with open_cache(tier) as cache:
        put(cache, layer.blob)
        for name in blobs(tier):
            grow_old(tier, name, HOUR)
        add(tier, 1, 7900)
        assert layer.digest not in blobs(tier)
        assert cache.layer(layer.digest).diff_id == layer.diff_id


# The count


def test_while_there_is_room_nothing_is_counted_again() -> None:
    store = Store(MemoryBackend())
    tier = BackendTier(store, Policy(max_size=10_000))
    add(tier, 1)
    store.asked.clear()
    for seed in range(2, 30):
        add(tier, seed)
    assert store.did("scan", "delete") == []


def test_a_tier_without_limits_asks_for_no_lock(tmp_path: Path) -> None:
    add(on_disk(tmp_path), 1)
    assert not (tmp_path / "locks").exists()


@pytest.mark.parametrize(
    "note", [b"", b"0", b"0 99999999999.0 en", b"\xff\x00", b"-5 99999999999.0 end", b"x y end"]
)
def test_a_count_that_is_lost_or_torn_is_made_anew(tmp_path: Path, note: bytes) -> None:
    tier = on_disk(tmp_path, max_size=1000)
    first = stock(tier, 1, 900)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / LOCK).write_bytes(note)
    add(tier, 2, 900)
    assert first not in blobs(tier)


def test_a_count_that_is_old_is_made_anew(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=1000)
    first = stock(tier, 1, 900)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / LOCK).write_text(f"0 {time.time() - RECOUNT - 1:.3f} end")
    add(tier, 2, 900)
    assert first not in blobs(tier)


def test_a_count_that_is_too_high_evicts_nothing(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=1000)
    first = stock(tier, 1, 100)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / LOCK).write_text(f"999 {time.time():.3f} end")
    second = add(tier, 2, 100)
    assert blobs(tier) == {first, second}
    assert (tmp_path / "locks" / LOCK).read_text().startswith("200 ")


def test_who_does_not_get_the_lock_counts_for_himself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layercache.tiers.quota.PATIENCE", 0.01)
    tier = on_disk(tmp_path, max_size=1000)
    first = stock(tier, 1, 900)
    backend = tier.backend
    assert isinstance(backend, LocalBackend)
    with backend.lock(LOCK) as held:
        assert held
        new = add(tier, 2, 900)
    assert blobs(tier) == {new}
    assert first != new


@pytest.mark.parametrize("fails", ["open", "pwrite"])
def test_a_full_disk_can_be_evicted_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    tier = on_disk(tmp_path)
    stock(tier, 1, 900)

    def refuse(name: int | str, *arguments: Any, **options: Any) -> int:
        if fails == "pwrite" or name == LOCK:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(opened(name, *arguments, **options))

    opened: Any = os.open
    monkeypatch.setattr(os, fails, refuse)
    with tier.room.evicting(max_size=0) as (account, going):
        assert [each.blob.size for each in going] == [900]
        assert account.used == 0
    assert not blobs(tier)


def test_threads_that_publish_at_once_keep_the_limit(make: Callable[..., BackendTier]) -> None:
    tier = make(max_size=2000)
    seen: list[int] = []

    def publish(first: int) -> None:
        for seed in range(first, first + 20):
            add(tier, seed, 300)
            seen.append(used(tier))

    threads = [threading.Thread(target=publish, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80
    # Without a lock between all who publish, each may be about to publish one blob.
    assert max(seen) <= (2000 if isinstance(tier.backend, LocalBackend) else 2000 + 3 * 300)
    assert keys.blob(next(iter(blobs(tier)))).startswith(keys.BLOBS)
