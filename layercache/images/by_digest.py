"""Cached images by the digest of their manifest, or of a blob that they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier


def listed(tiers: Sequence[Tier]) -> list[Tier]:
    """The tiers whose images are listed: behind the nearest, those that are on this machine."""
    return [*tiers[:1], *(tier for tier in tiers[1:] if not tier.remote)]


def image_named(tiers: Iterable[Tier], digest: Hash) -> str:
    """The name of a cached image whose manifest or index has this digest; empty if there is none."""
    from layercache.tiers import keys

    named = (
        keys.image_name(key)
        for tier in tiers
        for key, root in tier.images.scan()
        if root.digest == str(digest)
    )
    return next(named, "")


def images_using(tiers: Iterable[Tier], digests: Iterable[Hash]) -> list[str]:
    """Return the names of the images that use one of the blobs."""
    from layercache.tiers import keys
    from layercache.tiers.removal import referred_to

    names = set(digests)
    found: dict[str, None] = {}
    for tier in tiers:
        for key, descriptor in tier.images.scan():
            if not names.isdisjoint(referred_to(tier, descriptor)):
                found[keys.image_name(key)] = None
    return list(found)
