"""What the tiers know of a name whose role is not known: a digest, a diff ID, or both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from layercache.digest import Digest
from layercache.errors import NotFoundError
from layercache.known import Known

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.association import Association
    from layercache.digest import Hash
    from layercache.tier import Tier


def find(tiers: Sequence[Tier], name: Hash) -> Known:
    """The layer or blob that is cached under this name, in some form, in some tier.

    Raises `NotFoundError`, also where facts are known but no form is there.
    """
    known = facts(tiers, name)
    names = [name, *known.digests(), *([known.diff_id] if known.diff_id else [])]
    present = next((each for tier in tiers for each in names if tier.has_blob(each)), None)
    if present is None:
        raise not_found(tiers, f"{name} is not cached")
    if known.diff_id is None:
        known.digest = Digest(name)
    elif present in known.others:
        known.choose(Digest(present))
    return known


def not_found(tiers: Iterable[Tier], message: str) -> NotFoundError:
    return NotFoundError(
        message,
        looked_in=[tier.name for tier in tiers],
        hint="no source is known for it: name an image (layercache pull IMAGE) or put a file "
        "(layercache put FILE)",
    )


def facts(tiers: Sequence[Tier], name: Hash) -> Known:
    """What the nearest tier that knows the name says of it, whether or not any blob is there.

    A name may be both, the digest of a plain tar and the diff ID of that tar compressed: then every
    digest that leads to the tar is known, and the blob that has the name itself is meant.
    """
    for tier in tiers:
        known = Known()
        as_digest, as_diff_id = tier.facts_about(name)
        for fact in believed(tiers, tier, as_digest)[:1]:
            known.digest = fact.digest
            known.learn(fact)
        for fact in believed(tiers, tier, as_diff_id):
            known.diff_id = known.diff_id or fact.diff_id
            known.uncompressed_size = known.uncompressed_size or fact.uncompressed_size
            known.others[fact.digest] = fact
        if known.digest is None and known.others:
            known.choose(next(iter(known.others)))
        if known.diff_id is not None:
            return known
    return Known()


def believed(tiers: Iterable[Tier], tier: Tier, found: Iterable[Association]) -> list[Association]:
    """The facts of a tier that no computed fact of ours contradicts.

    Whoever can write to a far tier could have written a computed fact there: it is a claim to us until
    our own inflation confirms it, unless the tier is trusted.
    """
    kept = []
    for fact in found:
        if fact.computed and tier.policy.trusted:
            kept.append(fact)
        elif (mine := computed(tiers, fact.digest)) is None:
            kept.append(replace(fact, computed=False))
        elif mine.diff_id == fact.diff_id:
            kept.append(mine)
    return kept


def computed(tiers: Iterable[Tier], digest: Digest) -> Association | None:
    """What we ourselves found the blob to inflate to."""
    for tier in tiers:
        if tier.policy.trusted:
            for fact in tier.inflates_to(digest):
                if fact.computed:
                    return fact
    return None
