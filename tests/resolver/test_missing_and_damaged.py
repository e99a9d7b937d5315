"""Blobs that went, shrank or rotted behind the cache's back: a miss, never a wrong byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.layers import flipped, large, put, read, sample
from fixtures.stores import Fetch, assert_sound, blobs, content, evict, far, near, open_cache, write_blob

import layercache
from layercache import DigestMismatchError, LayercacheError, NotFoundError
from layercache.tiers import keys

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.cache import Cache
    from layercache.oci.digest import Hash

LAYER, BIG = sample(1), large(1)
BYTES: dict[Hash, bytes] = {LAYER.digest: LAYER.blob, LAYER.diff_id: LAYER.tar}


def both(cache: Cache, fetch: Fetch | None = None) -> None:
    """Both forms are read right."""
    layer = cache.layer(LAYER.digest, diff_id=LAYER.diff_id, fetch=fetch)
    assert read(layer.compressed()) == LAYER.blob
    assert read(layer.uncompressed()) == LAYER.tar


@pytest.mark.parametrize("gone", [(LAYER.digest,), (LAYER.diff_id,), (LAYER.digest, LAYER.diff_id)])
@pytest.mark.parametrize("source", ["farther tier", "origin"])
def test_an_evicted_blob_is_a_miss_and_comes_again(gone: tuple[Hash, ...], source: str) -> None:
    fetch = Fetch(LAYER.blob)
    with open_cache(near(), far(keep="compressed")) as cache:
        put(cache, LAYER.blob)
        for name in gone:
            evict(cache.tiers[0], name)
            if source == "origin":
                evict(cache.tiers[1], name)
        both(cache, fetch)
        assert blobs(cache.tiers[0]) == {LAYER.digest, LAYER.diff_id}
        assert len(fetch.asked) == (1 if source == "origin" and LAYER.digest in gone else 0)


@pytest.mark.parametrize("damaged", [LAYER.digest, LAYER.diff_id])
@pytest.mark.parametrize("how", ["cut", "grown", "empty"])
@pytest.mark.parametrize("source", ["farther tier", "origin"])
def test_a_local_blob_of_the_wrong_size_is_put_aside_and_made_or_fetched_again(
    damaged: Hash, how: str, source: str
) -> None:
    wrong = {"cut": BYTES[damaged][:-1], "grown": BYTES[damaged] + b"\0", "empty": b""}[how]
    fetch = Fetch(LAYER.blob)
    with open_cache(near(), far(keep="compressed")) as cache:
        put(cache, LAYER.blob)
        if source == "origin":
            evict(cache.tiers[1], LAYER.digest)
        write_blob(cache.tiers[0], damaged, wrong)
        both(cache, fetch)
        assert cache.counters.failed == 1
        assert_sound(cache.tiers[0])
        assert blobs(cache.tiers[0]) == {LAYER.digest, LAYER.diff_id}


def test_a_claimed_layers_blob_is_checked_by_size_too() -> None:
    fetch = Fetch(LAYER.blob)
    with open_cache() as cache:
        cache.layer(LAYER.digest, diff_id=LAYER.diff_id, fetch=fetch).fill("compressed")
        write_blob(cache.tiers[0], LAYER.digest, LAYER.blob[:-1])
        with pytest.raises(NotFoundError):
            cache.get(LAYER.diff_id).compressed()
        assert read(cache.layer(LAYER.digest, fetch=fetch).compressed()) == LAYER.blob


def test_a_cut_blob_with_no_other_way_is_not_found_rather_than_served() -> None:
    with open_cache() as cache:
        put(cache, LAYER.blob)
        write_blob(cache.tiers[0], LAYER.diff_id, LAYER.tar[:-1])
        assert read(cache.get(LAYER.diff_id).uncompressed()) == LAYER.tar, "made from the blob again"
        for name, data in BYTES.items():
            write_blob(cache.tiers[0], name, data[:-1])
        for name in BYTES:
            with pytest.raises(LayercacheError):
                read(cache.get(name).uncompressed())


@pytest.mark.parametrize("name", [LAYER.digest, LAYER.diff_id])
def test_a_size_that_is_stated_wrongly_takes_no_sound_blob_away(name: Hash) -> None:
    with open_cache() as cache:
        put(cache, LAYER.blob)
        with pytest.raises(LayercacheError):
            read(cache.layer(LAYER.digest, size=len(LAYER.blob) + 1).compressed())
        assert blobs(cache.tiers[0]) == {LAYER.digest, LAYER.diff_id}
        assert read(cache.get(name).compressed()) == LAYER.blob


@pytest.mark.parametrize("damaged", [LAYER.digest, LAYER.diff_id])
def test_verify_always_finds_a_flipped_bit_in_the_nearest_tier(damaged: Hash) -> None:
    with open_cache(verify_always=True) as cache:
        put(cache, LAYER.blob)
        write_blob(cache.tiers[0], damaged, flipped(BYTES[damaged]))
        fetch = Fetch(LAYER.blob)
        layer = cache.layer(LAYER.digest, diff_id=LAYER.diff_id, fetch=fetch)
        form = layer.compressed() if damaged == LAYER.digest else layer.uncompressed()
        assert read(form) == BYTES[damaged], "from elsewhere, in the same call"
        assert cache.counters.failed == 1
        both(cache, fetch)
        assert_sound(cache.tiers[0])


@pytest.mark.parametrize("damaged", [LAYER.digest, LAYER.diff_id])
def test_verify_always_repairs_when_it_fills(damaged: Hash) -> None:
    with open_cache(verify_always=True) as cache:
        put(cache, LAYER.blob)
        write_blob(cache.tiers[0], damaged, flipped(BYTES[damaged]))
        cache.layer(LAYER.digest, diff_id=LAYER.diff_id, fetch=Fetch(LAYER.blob)).fill("both")
        assert_sound(cache.tiers[0])
        assert blobs(cache.tiers[0]) == {LAYER.digest, LAYER.diff_id}


def test_verify_always_refuses_to_inflate_a_blob_that_rotted() -> None:
    with open_cache(verify_always=True) as cache:
        put(cache, LAYER.blob)
        evict(cache.tiers[0], LAYER.diff_id)
        write_blob(cache.tiers[0], LAYER.digest, flipped(LAYER.blob, 20))
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        assert read(layer.uncompressed()) == LAYER.tar
        assert_sound(cache.tiers[0])


def test_a_rotten_blob_of_known_diff_id_is_not_believed_over_the_fact() -> None:
    """By default the nearest tier is checked by size; a tar that comes out wrong shows the damage."""
    other = next(other for seed in range(2, 100) if len((other := sample(seed)).blob) == len(LAYER.blob))
    with open_cache() as cache:
        put(cache, LAYER.blob)
        evict(cache.tiers[0], LAYER.diff_id)
        write_blob(cache.tiers[0], LAYER.digest, other.blob)
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        with pytest.raises(DigestMismatchError):  # other bytes than the right ones were given
            read(layer.uncompressed())
        assert read(layer.uncompressed()) == LAYER.tar
        assert_sound(cache.tiers[0])


def test_verify_always_holds_back_the_last_bytes_of_a_large_damaged_blob() -> None:
    with open_cache(verify_always=True) as cache:
        put(cache, BIG.blob)
        write_blob(cache.tiers[0], BIG.digest, flipped(BIG.blob, 100))
        seen = 0
        stream = cache.get(BIG.digest).compressed()
        with stream, pytest.raises(DigestMismatchError):  # noqa: PT012  # where it raises is what is tested
            while part := stream.read(4096):
                seen += len(part)
        assert 0 < seen < len(BIG.blob)
        assert BIG.digest not in blobs(cache.tiers[0])


def test_a_whole_folder_that_is_wiped_under_an_open_cache_is_an_empty_cache(tmp_path: Path) -> None:
    import shutil

    with layercache.open(tmp_path / "cache") as cache:
        put(cache, LAYER.blob)
        shutil.rmtree(tmp_path / "cache")
        assert LAYER.digest not in cache
        both(cache, Fetch(LAYER.blob))
        put(cache, LAYER.blob)
        assert content(cache.tiers[0])[keys.blob(LAYER.digest)] == LAYER.blob


def test_a_stream_that_is_open_keeps_its_bytes_when_the_blob_is_deleted(tmp_path: Path) -> None:
    with layercache.open(tmp_path) as cache:
        put(cache, BIG.blob)
        with cache.get(BIG.diff_id).uncompressed() as tar:
            start = tar.read(100)
            cache.delete(BIG.diff_id)
            assert start + tar.read() == BIG.tar


@pytest.mark.parametrize("data", [b'{"opaque": true}', LAYER.tar, BIG.blob], ids=["opaque", "tar", "large"])
@pytest.mark.parametrize("how", ["cut", "grown", "flipped"])
def test_a_local_blob_whose_size_nobody_knows_is_hashed(data: bytes, how: str) -> None:
    """Without a fact or a stated size there is nothing to check a size against."""
    wrong = {"cut": data[:-1], "grown": data + b"\0", "flipped": flipped(data, -3)}[how]
    digest = layercache.Digest.of(data)
    with open_cache() as cache:
        cache.layer(digest, fetch=Fetch(data)).fill("compressed")
        write_blob(cache.tiers[0], digest, wrong)
        for layer in (cache.get(digest), cache.layer(digest, fetch=Fetch(data))):
            try:
                assert read(layer.compressed()) == data
            except LayercacheError:
                continue
        assert read(cache.layer(digest, fetch=Fetch(data)).compressed()) == data
        assert_sound(cache.tiers[0])
