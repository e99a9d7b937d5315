"""Finds out whether a name is that of a layer or of an image, and describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.cache.image_info import image_info
from layercache.cache.layer_info import layer_info
from layercache.errors import NotFoundError
from layercache.images.by_digest import image_named, listed
from layercache.oci.digest import HEX_LENGTH, Hash
from layercache.oci.platforms import parse_platform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.cache.image_info import ImageInfo
    from layercache.cache.layer_info import LayerInfo
    from layercache.images.opening import Images
    from layercache.oci.reference import Reference
    from layercache.sources import Source
    from layercache.tiers.tier import Tier


def describe(
    tiers: Sequence[Tier],
    name: str,
    platform: str | None,
    source_of: Callable[[str], tuple[Images, Reference | None, Source | None]],
) -> LayerInfo | ImageInfo:
    """See `Cache.info`. ``source_of``: what opens images, and where a name leads."""
    asked_by_hash = name.partition(":")[0] in HEX_LENGTH
    if asked_by_hash:
        digest = Hash(name)
        name = image_named(listed(tiers), digest)
        if not name:
            return layer_info(tiers, digest)
    images, reference, source = source_of(name)
    wanted = None if platform is None else parse_platform(platform)
    try:
        image = images.from_source(None if reference else source, reference, wanted)
    except NotFoundError:
        if asked_by_hash or not reference or source is None:  # who asks by a hash asks the cache
            raise
        image = images.from_source(source, reference, wanted)
    return image_info(tiers, image)
