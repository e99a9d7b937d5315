"""Plain tars that a tier has inside other blobs: a layer that is a plain tar is there if any of those is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.digest import DiffID
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.oci.digest import Hash
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


def others(tier: Tier, name: Hash, size: int | None = None) -> Iterator[Association]:
    """What a tier says of other blobs that have this tar inside, whether or not they are there.

    Without the tar's ``size``, in bytes, only of those that somebody has inflated, so that the tier knows it.
    """
    for fact in tier.facts.made_from(DiffID(name), claims=True):
        if fact.digest != name and fact.uncompressed_size is not None:
            yield fact
        elif fact.digest != name and size is not None:
            yield replace(fact, uncompressed_size=size)


def holding(tier: Tier, name: Hash) -> Association | None:
    """The fact about a blob in a tier that has this tar inside; None if there is no such blob."""
    return next((fact for fact in others(tier, name) if tier.blobs.has(fact.digest)), None)


def holds(tier: Tier, name: Hash, *, plain: bool) -> bool:
    """Whether a tier has a blob, or, if it is said to be a ``plain`` tar, another one with it inside."""
    return tier.blobs.has(name) or (plain and holding(tier, name) is not None)
