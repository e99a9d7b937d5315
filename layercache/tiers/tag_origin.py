"""Who says what a tag names, and when that was checked: annotations of the descriptors that tags name.

A tag without any of these was written when its registry was asked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from layercache.errors import NotFoundError
from layercache.oci.annotations import FULL_NAME, REF_NAME
from layercache.tiers import keys

if TYPE_CHECKING:
    from layercache.oci.descriptor import Descriptor
    from layercache.tiers.tier import Tier

COPIED_FROM = "dev.layercache.copied-from"
"""Annotation of a tag that was copied from an untrusted store: the name of that store."""

IMPORTED_FROM = "dev.layercache.imported-from"
"""Annotation of a tag that comes out of a layout or an archive: what that was ("docker-archive", "oci")."""

CHECKED = "dev.layercache.checked"
"""Annotation of a tag that was brought from a farther tier: when that tier's was checked (seconds since the
epoch). The object's own time would make it look younger."""

PUBLIC = "dev.layercache.public"
"""Annotation of an image that everybody could read in its registry when that was last asked."""


def marked(root: Descriptor, annotation: str, value: str) -> Descriptor:
    """The descriptor with one more annotation."""
    return msgspec.structs.replace(root, annotations={**(root.annotations or {}), annotation: value})


def is_public(root: Descriptor) -> bool:
    """Whether everybody could read an image in its registry, as this cache found out itself."""
    return PUBLIC in (root.annotations or {}) and not copied_from(root) and not imported_from(root)


def as_claimed(root: Descriptor) -> Descriptor:
    """What another store says that a name stands for, without what only this cache can know."""
    kept = {name: value for name, value in (root.annotations or {}).items() if name != PUBLIC}
    return msgspec.structs.replace(root, annotations=kept or None)


def copied_from(root: Descriptor) -> str:
    """The untrusted store that a tag was copied from; "" for any other."""
    return (root.annotations or {}).get(COPIED_FROM, "")


def imported_from(root: Descriptor) -> str:
    """What a tag was imported from; "" for one that was not."""
    return (root.annotations or {}).get(IMPORTED_FROM, "")


def checked_at(root: Descriptor, modified: float) -> float:
    """When a tag was last checked with its registry, in seconds since the epoch; 0 if it never was.

    ``modified``: the time of its object in a tier.
    """
    if imported_from(root):
        return 0.0
    text = (root.annotations or {}).get(CHECKED)
    if text is None:
        return modified
    return min(modified, float(text)) if text.isdecimal() else 0.0


class Imported(NamedTuple):
    """The key under which an image was recorded, and whether it was not yet."""

    key: str
    is_new: bool


def import_tag(tier: Tier, key: str, image: Descriptor) -> Imported:
    """Let a tag name an image that comes out of a layout or an archive.

    If a registry said that the tag names another one, it keeps that: the image is recorded by its digest.
    """
    there = _named(tier, key)
    if there and there.digest != image.digest and not imported_from(there) and not copied_from(there):
        key, image = keys.image_key_by_digest(key, image.digest), _without_names(image)
        there = _named(tier, key)
    if there and there.digest == image.digest:
        return Imported(key, is_new=False)
    tier.images.tag(key, image)
    return Imported(key, is_new=True)


def send_tag(tier: Tier, key: str, image: Descriptor, modified: float) -> None:
    """Let a tag name what it names in another tier, where it was written at this time, perhaps long ago.

    A tag that was checked later keeps what it names, and one that was imported is imported here, too.
    """
    if imported_from(image):
        import_tag(tier, key, image)
        return
    if not keys.digest_in(key):
        checked, there = checked_at(image, modified), _named(tier, key)
        with suppress(NotFoundError):
            if there and not copied_from(there) and checked_at(there, tier.images.time(key)) >= checked:
                return
        image = marked(image, CHECKED, f"{checked:.0f}")
    tier.images.tag(key, image)


def _named(tier: Tier, key: str) -> Descriptor | None:
    try:
        return tier.images.get(key)
    except NotFoundError:
        return None


def _without_names(image: Descriptor) -> Descriptor:
    """The descriptor without names that it has no right to: index.json would list it by them."""
    annotations = {
        name: value for name, value in (image.annotations or {}).items() if name not in (REF_NAME, FULL_NAME)
    }
    return msgspec.structs.replace(image, annotations=annotations)
