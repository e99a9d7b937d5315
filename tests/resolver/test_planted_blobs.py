"""Whatever was planted under a diff ID costs one try, and does not hide the right blob."""

from __future__ import annotations

import pytest
from fixtures.layers import compressed, read, sample
from fixtures.stores import Store, far, near, open_cache
from resolver.planted import EVIL, TRUE, Inflations, plant

import layercache
from layercache import DigestMismatchError, LayercacheError
from layercache.resolver import claims
from layercache.streams.limits import Limits
from layercache.tiers import keys
from layercache_backends.memory import MemoryBackend

NOT_A_LAYER = b"neither gzip, nor zstd, nor tar"
PLANTED = {
    "no layer": NOT_A_LAYER,
    "a cut gzip": TRUE.blob[:-5],
    "garbage behind a gzip": TRUE.blob + b"garbage",
    "the right gzip with a wrong checksum": TRUE.blob[:-8] + bytes(8),
    "an empty blob": b"",
    "another plain tar": EVIL.tar,
    "a zstd of another tar": compressed(EVIL.tar, "zstd"),
    "a gzip in a gzip": compressed(TRUE.blob, "gzip"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_whatever_was_planted_the_right_blob_is_found_behind_it(planted: str) -> None:
    poisoned, sound = far(), far()
    digest = plant(poisoned, PLANTED[planted], TRUE.diff_id)
    plant(sound, TRUE.blob, TRUE.diff_id)
    with open_cache(near(), poisoned, sound) as cache:
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert read(cache.get(TRUE.diff_id).compressed()) == TRUE.blob
        assert digest not in cache.get(TRUE.diff_id).digests


@pytest.mark.parametrize("planted", PLANTED)
def test_whatever_was_planted_costs_one_try_where_nothing_else_is_there(planted: str) -> None:
    store = Store(MemoryBackend())
    poisoned = far(store, readonly=True)
    digest = plant(far(store.inner), PLANTED[planted], TRUE.diff_id)
    with open_cache(near(), poisoned) as cache:
        for _ in range(3):
            with pytest.raises(LayercacheError):
                read(cache.get(TRUE.diff_id).compressed())
        assert len(store.did("open", below=keys.blob(digest))) == 1


def test_a_bomb_under_a_claim_costs_one_try() -> None:
    bomb = compressed(bytes(1 << 20), "gzip")
    store = Store(MemoryBackend())
    digest = plant(far(store.inner), bomb, TRUE.diff_id)
    with layercache.Cache([near(), far(store)], limits=Limits(size=100_000)) as cache:
        for _ in range(3):
            with pytest.raises(LayercacheError):
                read(cache.get(TRUE.diff_id).compressed())
        assert len(store.did("open", below=keys.blob(digest))) == 1


def test_of_many_planted_claims_a_request_follows_a_few() -> None:
    store = Store(MemoryBackend())
    for seed in range(20):
        plant(far(store.inner), sample(100 + seed).blob, TRUE.diff_id)
    inflations = Inflations()
    with open_cache(near(), far(store)) as cache, cache.watch(inflations):
        with pytest.raises(DigestMismatchError):
            read(cache.get(TRUE.diff_id).compressed())
        assert len(inflations) == claims.CLAIMS_MAX
        for _ in range(20 // claims.CLAIMS_MAX):
            with pytest.raises(LayercacheError):
                read(cache.get(TRUE.diff_id).compressed())
        assert len(inflations) == 20
        opened = [key for key in store.did("open", below=keys.BLOBS) if key != keys.blob(TRUE.diff_id)]
        assert len(opened) == 20, "each lie costs once"
