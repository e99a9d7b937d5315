"""From a way that leads somewhere to a reader: fetched, delivered by a tier, or inflated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.digest import Digest
from layercache.streams.readers import HashedReader
from layercache.tiers.failover import FailoverReader, Replica

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Reader
    from layercache.oci.forms import Form
    from layercache.resolver.claims import Claims
    from layercache.resolver.entries import Entries
    from layercache.resolver.fetch import Fetcher
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way


class Opening:
    """Turns what a way has opened into the form that was asked for. Thread-safe: it never changes."""

    def __init__(self, passes: Fetcher, entries: Entries, claims: Claims, *, verify_always: bool) -> None:
        self._passes = passes
        self._keeper = passes.keeper
        self._entries = entries
        self._claims = claims
        self._verify_always = verify_always

    def follow(self, layer: LayerState, form: Form, way: Way, opened: Reader, rest: Iterator[Way]) -> Reader:
        """The form out of what a way has opened. ``rest`` of the plan: as in `deliver`."""
        inflating = way.claimed or form != way.form
        if way.tier is None:
            reader = self._passes.fetch(layer, way, opened, inflating=inflating)
        else:
            reader = self.deliver(layer, way, opened, rest, inflating=inflating)
        digest = Digest(way.name)
        if way.claimed:
            return self._claims.confirmed(layer, digest, reader, way.tier)
        if form == way.form:
            return reader
        return self._passes.inflate(layer, digest, reader, tier=way.tier, from_origin=way.tier is None)

    def deliver(
        self, layer: LayerState, way: Way, reader: Reader, rest: Iterator[Way], *, inflating: bool = False
    ) -> Reader:
        """A blob out of a tier: as it is, hashed as it passes, or kept by a nearer tier as it passes.

        ``rest`` of the plan: the same bytes go on from there where this tier fails. What only a claim leads
        to is read by two; what comes from afar is spooled then, if no tier keeps it.
        """
        tier = way.tier
        assert tier is not None, "a source has no entries"
        trusted, spooled = tier.policy.trusted, way.claimed and tier.remote
        if not trusted:
            reader = FailoverReader(tier, reader, self._replicas(way, rest))
        nearer_than = None if way.inside else tier
        if spooled or (not way.near and self._keeper.store(way.form, nearer_than=nearer_than)):
            spooled_for = tier if spooled else None
            return self._passes.fetch(layer, way, reader, inflating=inflating, spooled_for=spooled_for)
        self._entries.hit(layer, way, reader)
        believed = trusted and not self._verify_always and way.inside is None
        # A fact is computed only where both sides were hashed in the same pass.
        if (believed and (not inflating or layer.identity.computed)) or isinstance(reader, HashedReader):
            return reader
        return self._entries.hashed(way, reader)

    def _replicas(self, way: Way, rest: Iterator[Way]) -> Iterator[Replica]:
        """The ways behind this one to the same bytes."""
        for other in rest:
            if (other.name, other.form) == (way.name, way.form) and (
                other.tier is None or (other.tier, other.name) not in self._keeper.wrong
            ):
                yield Replica(other.place, other.tier, other.open)
