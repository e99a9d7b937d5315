"""Images that are cached: listed, and forgotten."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.images.hosted import HOSTED
from layercache.oci.descriptor import NO_COMPRESSION, Descriptor, Platform, compression_of
from layercache.tiers import keys, removal
from layercache.tiers.cached_images import cached_manifests
from layercache.tiers.plain_tars import holding
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.oci.digest import Digest
    from layercache.tiers.tier import Tier


class CachedImage(Value, frozen=True):
    """An image in a tier. ``digest`` and ``media_type`` are those of its manifest or index.

    ``platforms``: those that are completely cached. ``size``: bytes of its cached blobs in compressed form.
    ``checked``: when its tag was last checked, in seconds since the epoch; 0 if that is unknown.
    """

    name: str
    digest: Digest
    media_type: str
    platforms: tuple[Platform, ...]
    size: int
    checked: float
    tier: str


def cached_images(tier: Tier) -> Iterator[CachedImage]:
    """The images of a tier, by name. The digest of a pushed image that has a tag there is left out."""
    names = sorted((keys.image_name(key), key, root) for key, root in _named(tier))
    for name, key, root in names:
        platforms, size = _held(tier, root)
        yield CachedImage(name, root.digest, root.media_type, platforms, size, _checked(tier, key), tier.name)


def forget(tiers: Sequence[Tier], name: str, *, blobs: bool, all_tiers: bool) -> None:
    """Remove an image from the nearest writable tier, or from each. Raises `NotFoundError`, `ConfigError`."""
    from layercache.images.missing import missing_image
    from layercache.oci.reference import Reference

    reference = Reference.parse(name)
    targets = removal.writable(tiers, all_tiers=all_tiers)
    found = [removal.forget_image(tier, keys.image_key(reference), blobs=blobs) for tier in targets]
    if not any(found):
        raise missing_image(targets, reference, "layercache images lists what is cached")


def _named(tier: Tier) -> Iterator[tuple[str, Descriptor]]:
    hosted = f"{keys.IMAGES}{HOSTED}/"
    found = dict(tier.images.scan())
    tagged = {
        keys.image_key_by_digest(key, image.digest)
        for key, image in found.items()
        if key.startswith(hosted) and not keys.digest_in(key)
    }
    return ((key, image) for key, image in found.items() if key not in tagged)


def _held(tier: Tier, root: Descriptor) -> tuple[tuple[Platform, ...], int]:
    """The platforms whose blobs are all cached, and the size of the image's cached blobs."""
    there = {root.digest: root.size} if tier.blobs.has(root.digest) else {}
    platforms: dict[Platform, None] = {}
    for manifest in cached_manifests(tier, root):
        sizes = {blob.digest: _stored_size(tier, blob) for blob in manifest.blobs()}
        present = {name: size for name, size in sizes.items() if size is not None}
        there.update(present)
        if manifest.is_whole(present.__contains__):
            platforms[manifest.platform] = None
    return tuple(platforms), sum(there.values())


def _stored_size(tier: Tier, blob: Descriptor) -> int | None:
    """The bytes of a cached blob, or of the one that a plain tar is stored as; None if missing."""
    if tier.blobs.has(blob.digest):
        return blob.size
    plain = compression_of(blob.media_type) == NO_COMPRESSION
    fact = holding(tier, blob.digest) if plain else None
    return fact.size if fact else None


def _checked(tier: Tier, key: str) -> float:
    with suppress(NotFoundError):
        return tier.images.time(key)
    return 0.0
