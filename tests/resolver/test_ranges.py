"""Parts of layers: where they are read, what travels for them, and that nothing unproved is given by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import flipped, large, put, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    assert_sound,
    blobs,
    evict,
    fact,
    far,
    near,
    open_cache,
    write_blob,
)

from layercache import BackendError, DigestMismatchError, NotFoundError
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.backend import Backend, Reader
    from layercache.cache import Cache
    from layercache.layer import Layer
    from layercache.tiers.policy import Keep

LAYER, EVIL = large(1), large(2)
SMALL = sample(1)
PARTS = [(0, 1), (0, 700), (1000, 5000), (99, None), (7, 7), (0, 10**9), (10**9, None), (10**9, 2 * 10**9)]


@dataclass
class Counted(Store):
    """A store that writes down which bytes of which blob were wanted, and counts those that were there."""

    ranges: list[tuple[int, int | None]] = field(default_factory=list)
    bytes: int = 0

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        reader = super().open(key, start, end)
        if key.startswith(keys.BLOBS):
            self.ranges.append((start, end))
            self.bytes += reader.size or 0
        return reader


def counted(*parts: bytes) -> Counted:
    store = Counted(MemoryBackend())
    for part in parts:
        write_blob(store.inner, Digest.of(part), part)
    return store


def stated(cache: Cache, fetch: Fetch | None = None, size: int | None = len(LAYER.blob)) -> Layer:
    return cache.layer(LAYER.digest, diff_id=LAYER.diff_id, size=size, fetch=fetch)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("verify_always", [False, True])
def test_a_part_of_either_form_is_the_part_of_the_whole_wherever_it_is(
    part: tuple[int, int | None], verify_always: bool
) -> None:
    start, end = part
    for where in ("near", "near, nothing known", "far", "far and trusted", "source", "tar nowhere kept"):
        tiers = [near(keep="compressed" if where == "tar nowhere kept" else "both")]
        fetch = Fetch(LAYER.blob) if where in ("source", "tar nowhere kept") else None
        if where.startswith("far"):
            tiers.append(far(counted(LAYER.blob)) if where == "far" else near(counted(LAYER.blob)))
        elif where == "near, nothing known":
            write_blob(tiers[0], LAYER.digest, LAYER.blob)
        with open_cache(*tiers, verify_always=verify_always) as cache:
            if where == "near":
                put(cache, LAYER.blob)
            layer = stated(cache, fetch, None if where == "near, nothing known" else len(LAYER.blob))
            assert read(layer.compressed(start, end)) == LAYER.blob[start:end]
            assert read(layer.uncompressed(start, end)) == LAYER.tar[start:end]
            assert read(layer.compressed()) == LAYER.blob
            assert read(layer.uncompressed()) == LAYER.tar
            for tier in cache.tiers:
                assert_sound(tier)


@pytest.mark.parametrize(("start", "end"), [(-1, None), (-1, 5), (5, 4), (0, -1)])
def test_what_is_not_a_range_is_refused_before_anything_is_asked(start: int, end: int | None) -> None:
    store = counted(LAYER.blob)
    with open_cache(near(), far(store)) as cache:
        layer = stated(cache)
        store.asked.clear()
        for form in (layer.compressed, layer.uncompressed):
            with pytest.raises(ValueError, match="not a range"):
                form(start, end)
        assert not store.asked


def test_a_part_of_a_far_blob_is_one_request_for_just_these_bytes_and_is_not_kept() -> None:
    store = counted(LAYER.blob)
    with open_cache(near(), far(store)) as cache:
        layer = stated(cache)
        store.asked.clear()
        assert read(layer.compressed(1000, 1500)) == LAYER.blob[1000:1500]
        assert store.ranges == [(1000, 1500)]
        assert store.bytes == 500
        assert [action for action, _ in store.asked if action != "read"] == ["open"]
        assert not blobs(cache.tiers[0])
        assert read(layer.compressed(len(LAYER.blob) - 9)) == LAYER.blob[-9:]
        assert store.bytes == 509


def test_of_a_trusted_far_tier_no_more_bytes_travel_either() -> None:
    store = counted(LAYER.blob)
    with open_cache(near(), near(store)) as cache:
        assert read(stated(cache).compressed(1000, 1500)) == LAYER.blob[1000:1500]
        assert (store.ranges, store.bytes) == ([(1000, 1500)], 500)


def test_a_part_of_what_is_near_asks_nobody_else() -> None:
    store, fetch = counted(LAYER.blob), Fetch(LAYER.blob)
    with open_cache(near(), far(store, readonly=True)) as cache:
        put(cache, LAYER.blob)
        store.asked.clear()
        layer = cache.get(LAYER.diff_id)
        asked = len(store.asked)
        assert read(layer.compressed(5, 50)) == LAYER.blob[5:50]
        assert read(layer.uncompressed(5, 50)) == LAYER.tar[5:50]
        assert (len(store.asked), fetch.asked, cache.counters.inflated) == (asked, [], 1)


def test_the_first_part_of_a_tar_makes_it_and_the_others_find_it() -> None:
    store = counted(LAYER.blob)
    with open_cache(near(), far(store)) as cache:
        layer = stated(cache)
        for start in (3000, 0, 40_000):
            assert read(layer.uncompressed(start, start + 100)) == LAYER.tar[start : start + 100]
        assert (cache.counters.inflated, store.ranges) == (1, [(0, None)])
        assert blobs(cache.tiers[0]) == {LAYER.digest, LAYER.diff_id}


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_a_part_is_read_out_of_the_transfer_that_is_on_its_way(form: str) -> None:
    store = counted(LAYER.blob)
    whole = LAYER.blob if form == "compressed" else LAYER.tar
    with open_cache(near(), far(store)) as cache:
        with getattr(stated(cache), form)() as first:
            begun = first.read(100)
            assert read(getattr(stated(cache), form)(2000, 2500)) == whole[2000:2500]
            assert begun + first.read() == whole
        assert store.ranges == [(0, None)], "one transfer for both"


def test_a_far_tier_that_fails_within_a_part_is_gone_on_from_at_the_same_byte() -> None:
    first, second = counted(LAYER.blob), counted(LAYER.blob)
    with open_cache(near(), far(first), far(second)) as cache:
        stream = stated(cache).compressed(1000, 90_000)
        got = stream.read(10)
        first.fails = lambda action, _: action == "read"
        got += read(stream)
        assert got == LAYER.blob[1000:90_000]
        (start, end) = second.ranges[0]
        assert (start >= 1010, end) == (True, 90_000)


def test_a_part_that_no_place_has_is_not_found_and_of_a_failing_one_it_is_the_failure() -> None:
    with open_cache(near()) as cache, pytest.raises(NotFoundError):
        cache.layer(LAYER.digest).compressed(1, 2)
    store = counted(LAYER.blob)
    with open_cache(near(), far(store)) as cache:
        layer = stated(cache)
        store.fails = lambda *_: True
        with pytest.raises(BackendError, match="fails on purpose"):
            read(layer.compressed(1, 2))


# What others write


def poisoned(store: Backend, size: int | None = None) -> None:
    write_blob(store, LAYER.digest, flipped(LAYER.blob)[:size])


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("known", ["size", "nothing"])
def test_a_rotten_near_entry_is_found_out_as_by_a_whole_read(form: str, known: str) -> None:
    """Of another size, or of the same size where no size is known or the cache verifies always."""
    whole, name = (LAYER.blob, LAYER.digest) if form == "compressed" else (LAYER.tar, LAYER.diff_id)
    for verify_always, wrong in ((True, flipped(whole)), (known == "nothing", whole[:-1])):
        with open_cache(verify_always=verify_always) as cache:
            if known == "size":
                put(cache, LAYER.blob)
            evict(cache.tiers[0], name)
            write_blob(cache.tiers[0], name, wrong)
            layer = stated(cache, Fetch(LAYER.blob), len(LAYER.blob) if known == "size" else None)
            assert read(getattr(layer, form)(0, 100)) == whole[:100]
            assert cache.counters.failed == 1
            assert_sound(cache.tiers[0])


def test_what_a_far_tier_lies_about_a_part_is_never_stored() -> None:
    store = counted()
    poisoned(store.inner)
    with open_cache(near(), far(store)) as cache:
        layer = stated(cache)
        read(layer.compressed(0, 100))
        assert not blobs(cache.tiers[0])
        with pytest.raises(DigestMismatchError):
            read(layer.compressed())
        assert not blobs(cache.tiers[0])


def test_a_far_blob_of_another_size_gives_no_part() -> None:
    store = counted()
    poisoned(store.inner, 5000)
    with open_cache(near(), far(store)) as cache:
        layer = stated(cache, Fetch(LAYER.blob))
        assert read(layer.compressed(4000, 6000)) == LAYER.blob[4000:6000]


def test_a_trusted_far_blob_of_another_size_gives_no_part() -> None:
    store = counted()
    poisoned(store.inner, 5000)
    with open_cache(near(keep="uncompressed"), near(store)) as cache:
        layer = stated(cache, Fetch(LAYER.blob))
        assert read(layer.compressed(4000, 6000)) == LAYER.blob[4000:6000]


def test_an_untrusted_nearest_tier_gives_no_part_of_a_tar_that_was_not_verified() -> None:
    tier = far()
    write_blob(tier, LAYER.diff_id, flipped(LAYER.tar))
    with open_cache(tier) as cache:
        stream = stated(cache).uncompressed(0, 100)
        with stream, pytest.raises(DigestMismatchError):
            stream.read(1)


def test_an_entry_that_was_found_wrong_gives_no_part() -> None:
    wrong, breaking = counted(), counted(LAYER.blob)
    poisoned(wrong.inner)
    others = [far(store, readonly=True) for store in (wrong, breaking, wrong)]
    with open_cache(near(keep="uncompressed"), *others) as cache:
        layer = stated(cache, Fetch(LAYER.blob))
        assert read(layer.compressed()) == LAYER.blob
        cache._resolver.keeper.wrong.add((cache._asked[3], LAYER.digest))
        opened = len(wrong.ranges)
        stream = layer.compressed(1000, 90_000)
        got = stream.read(10)
        breaking.fails = lambda action, _: action == "read"
        assert got + read(stream) == LAYER.blob[1000:90_000]
        assert len(wrong.ranges) == opened


def test_a_part_of_what_was_changed_since_it_was_published_is_not_given(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path))
    with open_cache(near(backend)) as cache:
        fetch = Fetch(LAYER.blob)
        part = stated(cache, fetch).uncompressed(1000, 5000)
        assert read(stated(cache, fetch).uncompressed()) == LAYER.tar
        with open(backend.path(keys.blob(LAYER.diff_id)), "r+b") as file:
            file.seek(2000)
            file.write(b"changed")
        try:
            got = read(part)
        except DigestMismatchError:
            return
        assert got == LAYER.tar[1000:5000]


def test_who_verifies_always_gets_no_part_that_was_not_hashed() -> None:
    store = counted()
    poisoned(store.inner)
    with open_cache(near(), far(store), verify_always=True) as cache:
        with pytest.raises(DigestMismatchError):
            read(stated(cache).compressed(0, 100))
        assert read(stated(cache, Fetch(LAYER.blob)).compressed(0, 100)) == LAYER.blob[:100]
        assert blobs(cache.tiers[0]) == {LAYER.digest}


@pytest.mark.parametrize("there", ["far", "far, and the tar too"])
def test_no_byte_of_a_small_part_of_a_tar_is_given_before_all_was_verified(there: str) -> None:
    store = counted()
    poisoned(store.inner)
    if there != "far":
        write_blob(store.inner, LAYER.diff_id, flipped(LAYER.tar))
    with open_cache(near(), far(store)) as cache:
        stream = stated(cache).uncompressed(0, 100)
        with stream, pytest.raises(DigestMismatchError):
            stream.read(1)
        assert not blobs(cache.tiers[0])


@pytest.mark.parametrize("part", [(0, 100), (1000, None), (0, 10**9)])
@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
def test_a_claim_gives_no_part_of_a_blob_before_its_tar_was_computed(
    part: tuple[int, int | None], keep: Keep
) -> None:
    store = counted(EVIL.blob)
    tier = far(store)
    tier.facts.record(fact(EVIL.digest, LAYER.diff_id, len(EVIL.blob)))
    with open_cache(near(keep=keep), tier) as cache:
        layer = cache.get(LAYER.diff_id)
        with pytest.raises(DigestMismatchError):
            layer.compressed(*part).read(1)
        assert LAYER.diff_id not in blobs(cache.tiers[0])


@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
def test_a_claim_that_is_true_is_confirmed_once_and_then_parts_are_parts(keep: Keep) -> None:
    store = counted(LAYER.blob)
    tier = far(store)
    tier.facts.record(fact(LAYER.digest, LAYER.diff_id, len(LAYER.blob)))
    with open_cache(near(keep=keep), tier) as cache:
        for _ in range(3):
            assert read(cache.get(LAYER.diff_id).compressed(500, 600)) == LAYER.blob[500:600]
        assert cache.counters.inflated == 1
        assert store.ranges[0] == (0, None)
        later = [(500, 600)] * 3 if keep == "uncompressed" else []
        assert store.ranges[1:] == later


def test_the_part_of_a_false_claim_is_read_by_the_next_one_that_is_true() -> None:
    store = counted(EVIL.blob, LAYER.blob)
    tier = far(store)
    for each in (EVIL, LAYER):
        tier.facts.record(fact(each.digest, LAYER.diff_id, len(each.blob)))
    with open_cache(near(), tier) as cache:
        assert read(cache.get(LAYER.diff_id).compressed(500, 600)) == LAYER.blob[500:600]
