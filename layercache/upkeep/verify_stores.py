"""Verifies several tiers, or what some images need of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError
from layercache.oci.platforms import ALL, default_platform, parse_platform
from layercache.oci.reference import Reference
from layercache.upkeep.locked import find_needed
from layercache.upkeep.verify import Checked, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from layercache.oci.descriptor import Platform
    from layercache.tiers.backend.tier import BackendTier
    from layercache.upkeep.sample import Sample


def verify_stores(
    stores: Iterable[BackendTier],
    images: Iterable[str | Reference] | None,
    platform: str | None,
    *,
    sample: Sample | None,
    deep: bool,
    jobs: int | None,
    changed: Callable[[], object],
) -> Iterator[Checked]:
    """Verify each tier as `verify` does. ``images``, named with digests: only what they need of a platform.

    ``changed`` is called after a tier in which something was wrong. Raises `InvalidNameError`.
    """
    references = None if images is None else [_with_digest(image) for image in images]
    return _verified(stores, references, _wanted(platform), sample, deep=deep, jobs=jobs, changed=changed)


def _verified(
    stores: Iterable[BackendTier],
    references: list[Reference] | None,
    platform: Platform | None,
    sample: Sample | None,
    *,
    deep: bool,
    jobs: int | None,
    changed: Callable[[], object],
) -> Iterator[Checked]:
    for tier in stores:
        only, is_wrong = None, False
        if references is not None:
            needed = find_needed(tier, references, platform)
            only = needed.blobs
            for each in needed.missing:
                yield Checked(tier.name, "image", each.image, 0, each.problem, missing=True)
        for checked in verify(tier, sample=sample, deep=deep, jobs=jobs, only=only):
            is_wrong = is_wrong or bool(checked.problem)
            yield checked
        if is_wrong:
            changed()


def _wanted(platform: str | None) -> Platform | None:
    """The platform; None for all."""
    if platform is None:
        return default_platform()
    return None if platform == ALL else parse_platform(platform)


def _with_digest(image: str | Reference) -> Reference:
    reference = image if isinstance(image, Reference) else Reference.parse(image)
    if reference.digest is None:
        raise InvalidNameError(f"{reference} has no digest", hint="name what is to be there: NAME@DIGEST")
    return reference
