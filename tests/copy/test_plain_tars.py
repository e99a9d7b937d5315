"""Plain tars that a bucket keeps as zstd: copied there, copied back, and not removed under an image."""

from __future__ import annotations

import pytest
from fixtures.layers import flipped, make_layer, put, read
from fixtures.stores import Fetch, Store, blobs, content, evict, near, open_cache, write_blob
from servers.images import Image, make_image

from layercache.copy import Copied, Copy, Selection
from layercache.errors import InUseError
from layercache.oci.digest import Digest
from layercache.oci.reference import Reference
from layercache.streams.compress import Compression
from layercache.testing.base import pattern
from layercache.tiers import keys, removal
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

PLAIN = make_layer({"text": b"a line of text\n" * 9000}, "none")
GZIP = make_layer({"other": b"another line of text\n" * 900}, "gzip")
NAME = Reference.parse("registry.example/team/app:1")
EVERYTHING = Selection()
ONE_IMAGE = Selection(images=(NAME,))


def bucket() -> BackendTier:
    policy = Policy(keep="compressed", recompress=Compression.of("zstd"))
    return BackendTier(Store(MemoryBackend(), url="bucket://"), policy)


def folder(*layers: object) -> BackendTier:
    backend = MemoryBackend()
    backend.url = f"memory://{id(backend)}"
    return near(backend)


def filled() -> tuple[BackendTier, Image]:
    """A cache with an image of a plain layer and another one."""
    tier, image = folder(), make_image([PLAIN, GZIP])
    with open_cache(tier) as cache:
        for layer in image.layers:
            put(cache, layer.blob)
    for data in (image.config, image.manifest):
        write_blob(tier, Digest.of(data), data)
    tier.images.tag(keys.image_key(NAME), image.descriptor)
    return tier, image


def copied(
    source: BackendTier, target: BackendTier, wanted: Selection = EVERYTHING, **options: bool
) -> Copied:
    return Copy(source, target, wanted, jobs=2, **options).run()  # type: ignore[arg-type]


def holds(tier: BackendTier) -> Digest:
    """The blob that has the plain layer inside."""
    (name,) = {fact.digest for fact in tier.facts.made_from(PLAIN.diff_id, claims=True)} & blobs(tier)
    assert name != PLAIN.digest
    return Digest(name)


@pytest.mark.parametrize("wanted", [Selection(), ONE_IMAGE], ids=["all", "image"])
def test_a_copy_to_a_bucket_recompresses(wanted: Selection) -> None:
    source, image = filled()
    target = bucket()
    report = copied(source, target, wanted)
    size = target.blobs.stat(holds(target)).size
    assert blobs(target) == {holds(target), GZIP.digest, image.descriptor.digest, image.config_digest}
    assert report.copied_bytes < size + len(GZIP.blob) + len(image.manifest) + len(image.config) + 1
    assert (report.wrong, report.copied) == (0, 4)
    before = content(target)
    again = copied(source, target, wanted)
    assert (again.copied, again.records, again.images) == (0, 0, 0)
    assert content(target) == before


def test_what_is_too_big_for_the_tier_however_it_is_compressed_evicts_nothing() -> None:
    big = make_layer({"random": pattern(300_000)}, "none")
    policy = Policy(keep="compressed", recompress=Compression.of("zstd"), max_size=100_000)
    source, target = folder(), BackendTier(Store(MemoryBackend(), url="bucket://"), policy)
    with open_cache(source) as cache:
        put(cache, big.blob)
    write_blob(target, GZIP.digest, GZIP.blob)
    assert copied(source, target).copied == 0
    assert blobs(target) == {GZIP.digest}


@pytest.mark.parametrize("wanted", [Selection(), ONE_IMAGE], ids=["all", "image"])
def test_a_copy_back_to_a_folder_has_the_tar_again(wanted: Selection) -> None:
    source, image = filled()
    middle, target = bucket(), folder()
    copied(source, middle)
    report = copied(middle, target, wanted)
    assert (report.wrong, report.unreadable, report.missing) == (0, 0, 0)
    needed = {PLAIN.digest, GZIP.digest, image.descriptor.digest, image.config_digest}
    assert needed <= blobs(target)
    assert content(target)[keys.blob(PLAIN.digest)] == PLAIN.blob
    with open_cache(target, offline=True) as cache:
        for layer in cache.image(str(NAME)).layers:
            assert (
                read(layer.compressed()) == {GZIP.digest: GZIP.blob, PLAIN.digest: PLAIN.blob}[layer.digest]
            )


def test_a_copy_from_bucket_to_bucket_takes_the_zstd_as_it_is() -> None:
    source, _ = filled()
    first, second = bucket(), bucket()
    second.name = "second://"
    copied(source, first)
    copied(first, second)
    assert blobs(second) == blobs(first)


def test_a_dry_run_recompresses_nothing() -> None:
    source, _ = filled()
    target = bucket()
    assert copied(source, target, dry_run=True).copied >= 4
    assert blobs(target) == set()


def test_a_tar_that_rotted_is_not_recompressed() -> None:
    source, _ = filled()
    target = bucket()
    write_blob(source, PLAIN.digest, flipped(PLAIN.blob))
    report = copied(source, target)
    assert report.wrong == 1
    assert (
        blobs(target) & {fact.digest for fact in target.facts.made_from(PLAIN.diff_id, claims=True)} == set()
    )


def test_the_blob_that_an_image_needs_is_not_removed_without_force() -> None:
    source, _ = filled()
    tier = bucket()
    copied(source, tier)
    with pytest.raises(InUseError):
        removal.delete(tier, holds(tier))
    with pytest.raises(InUseError):
        removal.delete(tier, PLAIN.digest)
    assert removal.delete(tier, PLAIN.digest, force=True) == 1
    assert tier.facts.made_from(PLAIN.diff_id, claims=True) == []


def test_an_image_that_is_removed_takes_the_zstd_along() -> None:
    source, _ = filled()
    tier = bucket()
    copied(source, tier)
    assert removal.forget_image(tier, keys.image_key(NAME), blobs=True)
    assert blobs(tier) == set()


def test_a_folder_may_evict_the_tar_and_keep_the_zstd() -> None:
    source, _ = filled()
    with open_cache(source) as cache:
        made = cache.get(PLAIN.digest).compress("zstd")
        evict(source, PLAIN.digest)
        assert made.digest in blobs(source)
        fetch = Fetch()
        layer = cache.layer(PLAIN.digest, diff_id=PLAIN.diff_id, size=len(PLAIN.blob), fetch=fetch)
        assert read(layer.compressed()) == PLAIN.blob
        assert fetch.asked == []
