"""The ways to a plain tar that lead through another blob: tiers may keep a zstd in its place.

A layer that is distributed as a plain tar has one name, which is both its digest and its diff ID. It can be
made from any other blob with that tar inside, and its own hash shows whether it is right. It does not matter
who made that other blob, and who states what is in it: a false statement costs time.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from layercache.oci.forms import COMPRESSED
from layercache.resolver import lookup
from layercache.resolver.plan import Way
from layercache.tiers.plain_tars import others

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.tier_writer import TierWriter
    from layercache.streams.limits import Limits
    from layercache.tiers.tier import Tier

TRIED = 3
"""Blobs of one tier that are tried for one tar: each that is not what the tier says costs an inflation."""


class Recompressed:
    """Finds what plain tars are inside of. Thread-safe: it has no state that changes."""

    def __init__(self, tiers: Sequence[Tier], keeper: TierWriter, limits: Limits) -> None:
        self._tiers = tiers
        self._keeper = keeper
        self._limits = limits

    def among(self, ways: Iterator[Way], identity: LayerIdentity) -> Iterator[Way]:
        """The ways to a plain layer, with those through other blobs before the source.

        A tier is asked only once its turn has come: one that recompresses before the tar itself is looked for
        there, another after all tiers were looked at for the tar.
        """
        left = list(self._tiers)
        for way in ways:
            if way.tier is None:
                while left:
                    yield from self._through(left.pop(0), identity)
            elif way.tier.policy.recompress and not way.near and way.tier in left:
                left.remove(way.tier)
                yield from self._through(way.tier, identity)
            yield way
        for tier in left:
            yield from self._through(tier, identity)

    def _through(self, tier: Tier, identity: LayerIdentity) -> Iterator[Way]:
        """The ways to the tar through other blobs of a tier."""
        from layercache.resolver.inside import Inside

        assert identity.digest is not None, "a plain layer has one name"
        refuse = partial(self._keeper.refuse, tier)
        facts = islice(others(tier, identity.digest, identity.size), TRIED)
        for fact in lookup.believed(self._tiers, tier, facts, self._keeper.refuted):
            if (tier, fact.digest) not in self._keeper.wrong:
                inside = Inside(fact, self._limits, refuse)
                yield Way(identity.digest, COMPRESSED, tier, inside=inside)
