"""Deleting by either name: what goes, what stays, and what an image still needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import ConfigError, InUseError, NotFoundError
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import image_refs, keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layercache.oci.descriptor import Descriptor
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


def writable(tiers: Iterable[Tier], *, all_tiers: bool) -> list[Tier]:
    """The nearest tier that can be written to, or all of them. Raises `ConfigError` if there is none."""
    found = [tier for tier in tiers if not tier.policy.readonly]
    if not found:
        raise ConfigError("every tier is read-only", hint="name a cache that can be written to")
    return found if all_tiers else found[:1]


def delete_from(tiers: Sequence[Tier], name: Hash, *, force: bool, all_tiers: bool) -> None:
    """Remove what a name stands for, as `delete` does, from the tiers that are `writable`.

    Raises `NotFoundError` if nothing was there, `InUseError`, `ConfigError`.
    """
    targets = writable(tiers, all_tiers=all_tiers)
    if not sum([delete(tier, name, force=force) for tier in targets]):
        searched_all = targets == writable(tiers, all_tiers=True)
        hint = "" if searched_all else "far tiers were not searched: use all_tiers (--all-tiers)"
        raise NotFoundError(f"{name} is not cached", looked_in=[tier.name for tier in targets], hint=hint)


def delete(tier: Tier, name: Hash, *, force: bool = False) -> int:
    """Remove what a name stands for from one tier; how many blobs went.

    By diff ID: the tar and every blob that inflates to it. By digest: that blob, and the tar only where
    no other digest leads to it. Facts go before blobs, so that none outlives what it is about. Raises
    `InUseError` where a cached image refers to one of the blobs, unless ``force``.
    """
    facts, names, present = _belonging(tier, name)
    if not force and present:
        # A plain tar that the tier has only inside this blob is part of the images that list it.
        inside = {fact.diff_id for fact in facts if not tier.blobs.has(fact.diff_id)}
        _refuse_if_used(tier, {*names, *inside})
    return _remove(tier, facts, present)


def _belonging(tier: Tier, name: Hash) -> tuple[list[Association], list[Hash], list[Hash]]:
    """What goes with a name: facts, names of blobs, and those of them that are there."""
    facts = tier.facts.made_from(DiffID(name), claims=True)
    names: list[Hash] = [name, *dict.fromkeys(fact.digest for fact in facts)]
    own = tier.facts.inflates_to(Digest(name), claims=True)
    tars = dict.fromkeys(fact.diff_id for fact in own)
    names += [
        tar for tar in tars if all(fact.digest == name for fact in tier.facts.made_from(tar, claims=True))
    ]
    present = [each for each in dict.fromkeys(names) if tier.blobs.has(each)]
    return [*facts, *own], names, present


def _remove(tier: Tier, facts: Iterable[Association], present: list[Hash]) -> int:
    for fact in facts:
        tier.facts.forget(fact)
    for each in present:
        tier.blobs.delete(each)
    return len(present)


def forget_image(tier: Tier, key: str, *, blobs: bool = False) -> bool:
    """Forget what a reference names; whether it was there.

    ``blobs``: then remove what it needed, its own documents last, unless another image needs it.
    """
    try:
        descriptor = tier.images.get(key)
    except NotFoundError:
        return False
    needed = list(dict.fromkeys(referred_to(tier, descriptor))) if blobs else []
    tier.images.forget(key)
    if needed:
        used = {name for _, other in tier.images.scan() for name in referred_to(tier, other)}
        for needed_name in reversed(needed):
            facts, names, present = _belonging(tier, needed_name)
            if used.isdisjoint(names):
                _remove(tier, facts, present)
    return True


def _refuse_if_used(tier: Tier, names: set[Hash]) -> None:
    for key, descriptor in tier.images.scan():
        used = names.intersection(referred_to(tier, descriptor))
        if used:
            raise InUseError(
                f"{next(iter(used))} is part of the image {keys.image_name(key)}",
                looked_in=[tier.name],
                hint="use force to remove it anyway (layercache rm --force)",
            )


def referred_to(tier: Tier, descriptor: Descriptor) -> Iterator[Hash]:
    """Every blob that an image needs, as far as its documents are in this tier: its own digest first.

    A layer's tar counts as needed through the layer's digest.
    """
    return (
        name for name, _ in image_refs.contents(tier.blobs.open, descriptor, tier.policy.max_document_size)
    )
