"""Many digests to one diff ID; what a delete takes along, what stays, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.layers import again, compressed, put, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    blobs,
    content,
    evict,
    far,
    near,
    open_cache,
    refuses_writes,
    store_of,
    write_blob,
)
from servers.images import make_image, make_index

from layercache import BackendError, InUseError, NotFoundError
from layercache.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.cache import Cache

GZIP, ZSTD = sample(1, "gzip"), sample(1, "zstd")
TAR = GZIP.diff_id
KEY = keys.image_tag("example.org", "app", "v1")


def facts(cache: Cache, number: int = 0) -> list[str]:
    return [key for key in content(cache.tiers[number]) if key.startswith(keys.RECORDS)]


def test_every_digest_of_a_tar_is_listed_and_one_inflation_serves_all() -> None:
    with open_cache() as cache:
        put(cache, GZIP.blob)
        put(cache, ZSTD.blob)
        assert set(cache.get(TAR).digests) == {GZIP.digest, ZSTD.digest}
        before = cache.counters.inflated
        for name in (TAR, GZIP.digest, ZSTD.digest):
            assert read(cache.get(name).uncompressed()) == GZIP.tar
        assert cache.counters.inflated == before
        assert read(cache.get(GZIP.digest).compressed()) == GZIP.blob
        assert read(cache.get(ZSTD.digest).compressed()) == ZSTD.blob
        assert read(cache.get(TAR).compressed()) in (GZIP.blob, ZSTD.blob)


def test_the_compressed_form_of_a_diff_id_is_that_of_the_nearest_digest() -> None:
    with open_cache(near(), far()) as cache:
        put(cache, GZIP.blob)
        put(cache, ZSTD.blob)
        for missing, nearest in ((GZIP, ZSTD), (ZSTD, GZIP)):
            put(cache, missing.blob)
            evict(cache.tiers[0], missing.digest)
            layer = cache.get(TAR)
            assert read(layer.compressed()) == nearest.blob
            assert (layer.digest, layer.size) == (nearest.digest, len(nearest.blob))
            assert layer.media_type == nearest.media_type
            put(cache, missing.blob)


def test_a_tar_is_made_of_whichever_digest_is_there() -> None:
    for missing, there in ((GZIP, ZSTD), (ZSTD, GZIP)):
        with open_cache() as cache:
            put(cache, missing.blob)
            put(cache, there.blob)
            evict(cache.tiers[0], missing.digest)
            evict(cache.tiers[0], TAR)
            assert TAR in cache
            assert read(cache.get(TAR).uncompressed()) == GZIP.tar


def test_facts_that_lead_nowhere_do_not_hide_what_a_farther_tier_has() -> None:
    middle, last = far(), far()
    with open_cache(near(last.backend)) as cache:
        put(cache, ZSTD.blob)
        evict(last, TAR)
    with open_cache(near(), middle) as cache:
        put(cache, GZIP.blob)
        for tier in cache.tiers:
            evict(tier, GZIP.digest)
            evict(tier, TAR)
        nearest = cache.tiers[0]
    with open_cache(nearest, middle, last) as cache:
        assert TAR in cache
        assert read(cache.get(TAR).uncompressed()) == GZIP.tar


def test_deleting_one_digest_leaves_the_tar_while_another_leads_to_it() -> None:
    with open_cache() as cache:
        put(cache, GZIP.blob)
        put(cache, ZSTD.blob)
        cache.delete(GZIP.digest)
        assert blobs(cache.tiers[0]) == {ZSTD.digest, TAR}
        assert GZIP.digest not in cache
        assert cache.get(TAR).digests == [ZSTD.digest]
        assert read(cache.get(TAR).compressed()) == ZSTD.blob
        cache.delete(ZSTD.digest)
        assert content(cache.tiers[0]) == {}
        assert TAR not in cache


def test_deleting_by_diff_id_takes_every_digest_of_it() -> None:
    with open_cache() as cache:
        for blob in (GZIP.blob, ZSTD.blob, again(GZIP, 1)):
            put(cache, blob)
        put(cache, sample(2).blob)
        cache.delete(TAR)
        assert blobs(cache.tiers[0]) == {sample(2).digest, sample(2).diff_id}
        assert len(facts(cache)) == 2


def test_deleting_takes_claims_along() -> None:
    for name in (GZIP.digest, TAR):
        with open_cache() as cache:
            claimed = cache.layer(GZIP.digest, diff_id=TAR, fetch=Fetch(GZIP.blob))
            claimed.fill("compressed")
            assert facts(cache)
            cache.delete(name)
            assert content(cache.tiers[0]) == {}


def test_a_plain_tar_that_is_also_inside_a_gzip_goes_with_all_its_names() -> None:
    with open_cache() as cache:
        put(cache, GZIP.tar)
        put(cache, GZIP.blob)
        cache.delete(GZIP.digest)
        assert blobs(cache.tiers[0]) == {TAR}, "the tar is a blob of its own"
        assert read(cache.get(TAR).compressed()) == GZIP.tar
        put(cache, GZIP.blob)
        cache.delete(TAR)
        assert content(cache.tiers[0]) == {}


def test_deleting_what_is_unknown_or_gone_is_an_error_that_says_where() -> None:
    with open_cache(near(), far()) as cache:
        with pytest.raises(NotFoundError, match="is not cached") as caught:
            cache.delete(TAR)
        assert "all_tiers" in caught.value.hint
        put(cache, GZIP.blob)
        cache.delete(TAR)
        with pytest.raises(NotFoundError):
            cache.delete(TAR)


def test_a_delete_is_for_the_nearest_writable_tier_unless_all_are_named() -> None:
    first = Store(MemoryBackend(), fails=refuses_writes)
    with open_cache(near(first, readonly=True), far(), far()) as cache:
        write_blob(first.inner, GZIP.digest, GZIP.blob)
        put(cache, GZIP.blob)
        cache.delete(GZIP.digest)
        assert blobs(cache.tiers[1]) == set()
        assert blobs(cache.tiers[2]) == {GZIP.digest, TAR}
        cache.delete(TAR, all_tiers=True)
        assert content(cache.tiers[2]) == {}
        assert GZIP.digest in cache, "the read-only tier has it still"
        assert not first.did("delete", "create")


def image_in(cache: Cache, number: int = 0) -> tuple[Digest, Digest]:
    """Keep an image of the gzip and another layer; the digests of its manifest and config."""
    image = make_image([GZIP, sample(2)])
    index = make_index([image])
    tier = cache.tiers[number]
    for digest, data in {
        **image.blobs,
        **{key: found for key, (_, found) in index.documents.items()},
    }.items():
        write_blob(tier, digest, data)
    tier.images.tag(KEY, index.descriptor)
    return image.descriptor.digest, Digest.of(image.config)


@pytest.mark.parametrize("keep", ["both", "uncompressed", "compressed"])
def test_what_an_image_refers_to_is_deleted_by_force_alone(keep: str) -> None:
    with open_cache(near(keep=keep)) as cache:  # type: ignore[arg-type]  # parametrised
        for blob in (GZIP.blob, ZSTD.blob):
            put(cache, blob)
        manifest, config = image_in(cache)
        if keep == "uncompressed":
            evict(cache.tiers[0], GZIP.digest)
        before = content(cache.tiers[0])
        for name in (GZIP.digest, TAR, manifest, config):
            if keep == "uncompressed" and name == GZIP.digest:
                continue
            with pytest.raises(InUseError, match="part of the image") as caught:
                cache.delete(name)
            assert "force" in caught.value.hint
            assert content(cache.tiers[0]) == before
        cache.delete(TAR, force=True)
        assert not {GZIP.digest, ZSTD.digest, TAR} & blobs(cache.tiers[0])


def test_another_digest_of_a_used_layer_may_go() -> None:
    with open_cache() as cache:
        put(cache, GZIP.blob)
        put(cache, ZSTD.blob)
        image_in(cache)
        cache.delete(ZSTD.digest)
        assert read(cache.get(TAR).uncompressed()) == GZIP.tar


def test_an_image_whose_documents_are_gone_or_garbage_protects_nothing_and_breaks_nothing() -> None:
    with open_cache() as cache:
        put(cache, GZIP.blob)
        tier = cache.tiers[0]
        tier.images.tag(KEY, Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"{"), size=1))
        write_blob(tier, Digest.of(b"{"), b"{")
        cache.delete(GZIP.digest)
        assert GZIP.digest not in cache


def test_an_opaque_blob_is_deleted_by_its_digest() -> None:
    with open_cache() as cache:
        made = put(cache, b'{"a": 1}')
        assert made.digest
        cache.delete(made.digest)
        assert content(cache.tiers[0]) == {}


def test_a_deleted_layer_comes_again_from_a_farther_tier() -> None:
    with open_cache(near(), far()) as cache:
        put(cache, compressed(GZIP.tar, "gzip"))
        cache.delete(GZIP.digest)
        assert blobs(cache.tiers[0]) == set()
        assert read(cache.get(TAR).uncompressed()) == GZIP.tar
        assert read(cache.get(GZIP.digest).compressed()) == GZIP.blob


def test_facts_go_before_the_blobs_that_they_are_about() -> None:
    tier = near(Store(MemoryBackend()))
    with open_cache(tier) as cache:
        for name in (TAR, GZIP.digest):
            put(cache, GZIP.blob)
            store = store_of(tier)
            store.asked.clear()
            cache.delete(name)
            deleted = store.did("delete")
            facts_deleted = [number for number, key in enumerate(deleted) if key.startswith(keys.RECORDS)]
            blobs_deleted = [number for number, key in enumerate(deleted) if key.startswith(keys.BLOBS)]
            assert facts_deleted
            assert len(blobs_deleted) == 2
            assert max(facts_deleted) < min(blobs_deleted)


def test_a_delete_that_breaks_off_leaves_no_fact_about_a_blob_that_is_gone() -> None:
    tier = near(Store(MemoryBackend()))
    with open_cache(tier) as cache:
        put(cache, GZIP.blob)
        store_of(tier).fails = lambda action, key: action == "delete" and key == keys.blob(TAR)
        with pytest.raises(BackendError):
            cache.delete(TAR)
        assert facts(cache) == []


def test_an_image_is_forgotten_before_its_blobs_go() -> None:
    made = make_image([])
    tier = near(Store(MemoryBackend()))
    with open_cache(tier) as cache:
        for name, data in {made.descriptor.digest: made.manifest, **made.blobs}.items():
            write_blob(tier, name, data)
        tier.images.tag(KEY, made.descriptor)
        store_of(tier).asked.clear()
        cache.forget_image("example.org/app:v1", blobs=True)
    deleted = store_of(tier).did("delete")
    assert deleted[0] == KEY
    assert deleted[-1] == keys.blob(made.descriptor.digest), "the image's own document goes last"
    assert len(deleted) == 1 + 1 + len(made.blobs)
