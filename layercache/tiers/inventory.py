"""The layers that a tier knows about, one after the other: a cache of any size in the same memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.oci.forms import COMPRESSED
from layercache.tiers.backend.tier import BackendTier
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


class Held(Value, frozen=True):
    """A pair of names, and which of its forms a tier has.

    ``used``: when one of them was last used or published, in seconds since the epoch; 0 if that is unknown.
    """

    fact: Association
    compressed: bool
    uncompressed: bool
    used: float = 0.0

    @property
    def forms(self) -> str:
        if self.compressed:
            return "both" if self.uncompressed else "compressed"
        return "uncompressed" if self.uncompressed else "none"


def layers(tier: Tier) -> Iterator[Held]:
    """Each pair of names once, in any order: a claim is skipped where something was computed."""
    for fact in tier.facts.scan():
        if fact.computed or not tier.facts.has_computed(fact.digest):
            yield _held(tier, fact)


def layers_of(tier: Tier, digests: Iterable[Digest]) -> Iterator[Held]:
    """The layers with these digests, in their order; without those that the tier does not know."""
    for digest in digests:
        for fact in tier.facts.inflates_to(digest)[:1]:
            yield _held(tier, fact)


def added(tier: Tier) -> dict[tuple[Digest, DiffID], float]:
    """When the tier learned each pair of names, in seconds since the epoch; 0 if that is unknown."""
    found: dict[tuple[Digest, DiffID], float] = {}
    for fact, written in tier.facts.written():
        pair = fact.digest, fact.diff_id
        found[pair] = min(found.get(pair) or written, written)
    return found


def _held(tier: Tier, fact: Association) -> Held:
    blob = _last_use(tier, fact.digest)
    tar = blob
    if str(fact.digest) != fact.diff_id:
        tar = _last_use(tier, fact.diff_id) if tier.policy.keep != COMPRESSED else None
    return Held(fact, blob is not None, tar is not None, max(blob or 0.0, tar or 0.0))


def _last_use(tier: Tier, name: Hash) -> float | None:
    """When a blob was last used; None if it is not there.

    0 if the tier is not a store of objects: a registry would need another request for the time.
    """
    if not isinstance(tier, BackendTier):
        return 0.0 if tier.blobs.has(name) else None
    try:
        return tier.blobs.stat(name).modified
    except NotFoundError:
        return None
