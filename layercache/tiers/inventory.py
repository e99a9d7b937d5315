"""The layers that a tier knows about, one after the other: a cache of any size in the same memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.oci.forms import COMPRESSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


@dataclass(frozen=True, slots=True)
class Held:
    """A pair of names, and which of its forms a tier has."""

    fact: Association
    compressed: bool
    uncompressed: bool

    @property
    def forms(self) -> str:
        if self.compressed:
            return "both" if self.uncompressed else "compressed"
        return "uncompressed" if self.uncompressed else "none"


def layers(tier: Tier) -> Iterator[Held]:
    """Each pair of names once, in any order: a claim is skipped where something was computed."""
    for fact in tier.facts.scan():
        if fact.computed or not tier.facts.has_computed(fact.digest):
            compressed = tier.blobs.has(fact.digest)
            plain = compressed and str(fact.digest) == fact.diff_id
            tar = plain or (tier.policy.keep != COMPRESSED and tier.blobs.has(fact.diff_id))
            yield Held(fact, compressed, tar)
