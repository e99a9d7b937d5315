"""A claim is confirmed once, in the pass that brings the blob, for all who read along."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.chunks import CHUNK
from fixtures.layers import read
from fixtures.stores import Fetch, Store, blobs, evict, far, near, open_cache, supplied, write_blob
from resolver.planted import BIG, BIG_EVIL, EVIL, TRUE, given, lie, plant

from layercache import BackendError, DigestMismatchError
from layercache.errors import IntegrityError
from layercache.tiers import keys
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.tiers.policy import Keep


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
def test_an_honest_claim_is_confirmed_once_in_the_pass_that_brings_the_blob(*, keep: Keep, big: bool) -> None:
    layer = BIG if big else TRUE
    store = Store(MemoryBackend())
    shared = far(store)
    plant(shared, layer.blob, layer.diff_id)
    with open_cache(near(keep=keep), shared) as cache:
        for _ in range(3):
            assert read(cache.get(layer.diff_id).compressed()) == layer.blob
        assert cache.counters.inflated == 1
        assert cache.get(layer.diff_id).computed
        if keep == "both":
            assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar
            assert cache.counters.inflated == 1, "the tar that was made by the way is kept"
        if keep != "uncompressed":
            assert len(store.did("open", below=keys.blob(layer.digest))) == 1
        else:
            assert len(store.did("open", below=keys.blob(layer.digest))) == 3, "it is not kept here"


@pytest.mark.parametrize("near_store", ["memory", "disk"])
def test_a_claim_about_a_blob_at_hand_is_confirmed_where_it_is(near_store: str, tmp_path: Path) -> None:
    nearest = near(LocalBackend(str(tmp_path)) if near_store == "disk" else None)
    with open_cache(nearest) as cache:
        cache.layer(BIG.digest, diff_id=BIG.diff_id, fetch=Fetch(BIG.blob)).fill("compressed")
        layer = cache.get(BIG.diff_id)
        assert layer.path("compressed") is None
        layer.fill("compressed")
        assert layer.computed
        assert (layer.path("compressed") is not None) == (near_store == "disk")
        assert read(cache.get(BIG.diff_id).compressed()) == BIG.blob
        assert cache.counters.inflated == 1
        assert cache.counters.fetched == 1


def test_who_joins_by_a_claim_reads_no_bytes_that_the_first_reader_would_not_get() -> None:
    poisoned = far()
    lie(poisoned, big=True)
    with open_cache(near(), poisoned) as cache:
        first = cache.get(BIG.diff_id).compressed()
        assert first.read(10) == BIG_EVIL.blob[:10]
        got, error = given(cache, BIG.diff_id)
        assert isinstance(error, DigestMismatchError)
        assert len(got) <= len(BIG_EVIL.blob) - CHUNK
        with first, pytest.raises(DigestMismatchError):
            first.read()
        assert cache.counters.inflated <= 1
        assert supplied(cache, poisoned) == 1


def test_who_joins_a_blob_that_others_bring_by_its_digest_has_the_claim_confirmed_all_the_same() -> None:
    poisoned = far()
    lie(poisoned, big=True)
    with open_cache(near(), poisoned) as cache:
        by_digest = cache.layer(BIG_EVIL.digest).compressed()
        start = by_digest.read(10)
        got, error = given(cache, BIG.diff_id)
        assert isinstance(error, DigestMismatchError)
        assert len(got) <= len(BIG_EVIL.blob) - CHUNK
        assert start + read(by_digest) == BIG_EVIL.blob, "who asked by digest is not affected"
        assert supplied(cache, poisoned) == 1


def test_many_who_ask_by_an_honest_claim_share_one_fetch_and_one_inflation() -> None:
    shared = far(Store(MemoryBackend()))
    plant(shared, BIG.blob, BIG.diff_id)
    with open_cache(near(), shared) as cache:
        got: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: got.append(read(cache.get(BIG.diff_id).compressed())))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [BIG.blob] * 12
        assert (supplied(cache, shared), cache.counters.inflated) == (1, 1)


def test_a_reader_who_leaves_early_leaves_nothing_unconfirmed() -> None:
    poisoned = far()
    lie(poisoned, big=True)
    with open_cache(near(), poisoned) as cache:
        with cache.get(BIG.diff_id).compressed() as stream:
            stream.read(10)
        assert blobs(cache.tiers[0]) == set()
        assert isinstance(given(cache, BIG.diff_id)[1], DigestMismatchError)


def test_what_was_computed_here_goes_before_what_is_only_said() -> None:
    poisoned = far()
    lie(poisoned)
    write_blob(poisoned, TRUE.digest, TRUE.blob)
    with open_cache(near(), poisoned) as cache:
        cache.layer(TRUE.digest, fetch=Fetch(TRUE.blob)).fill("uncompressed")
        for name in (TRUE.digest, TRUE.diff_id):
            evict(cache.tiers[0], name)
        before = cache.counters.inflated
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert cache.counters.inflated == before


def test_a_claim_that_was_copied_into_the_nearest_tier_stays_a_claim() -> None:
    poisoned = far()
    lie(poisoned)
    with open_cache(near(), poisoned) as cache:
        cache.get(EVIL.digest).fill("compressed")  # its claim comes along
        assert all(not fact.computed for fact in cache.tiers[0].facts.scan())
        assert given(cache, TRUE.diff_id)[0] == b""
        assert {fact.diff_id for fact in cache.tiers[0].facts.scan()} == {EVIL.diff_id}


def test_a_trusted_tiers_fact_is_taken_at_its_word() -> None:
    """That is what trusting it means."""
    trusted = near()
    plant(trusted, TRUE.blob, TRUE.diff_id)
    with open_cache(near(), trusted) as cache:
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert cache.counters.inflated == 0


def test_a_store_that_breaks_while_a_claim_is_confirmed_refutes_nothing() -> None:
    broken = False
    store = Store(
        MemoryBackend(), fails=lambda action, key: broken and action == "read" and keys.BLOBS in key
    )
    plant(far(store.inner), BIG.blob, BIG.diff_id)
    with open_cache(near(), far(store)) as cache:
        broken = True
        with pytest.raises(BackendError):
            read(cache.get(BIG.diff_id).compressed())
        broken = False
    with open_cache(near(), far(store)) as cache:
        assert read(cache.get(BIG.diff_id).compressed()) == BIG.blob


def test_a_flipped_bit_in_a_far_blob_refutes_no_claim() -> None:
    rotten, sound = far(), far()
    plant(sound, TRUE.blob, TRUE.diff_id)
    plant(rotten, TRUE.blob, TRUE.diff_id)
    write_blob(rotten, TRUE.digest, TRUE.blob[:-20] + bytes(20))
    with open_cache(near(), rotten, sound) as cache:
        for _ in range(2):
            try:
                assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
            except IntegrityError:
                continue
            break
        else:
            pytest.fail("the sound blob was never found")
