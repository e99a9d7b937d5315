"""Brings a form of a layer that is not near: out of a farther tier, its source, or the other form.

Before any way that is not near, a transfer of the same bytes that is on its way already is joined. What comes
from afar or is inflated is kept by the nearest tier that keeps it, in the same pass.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver import lookup
from layercache.resolver.absence import no_way
from layercache.resolver.claims import Claims
from layercache.resolver.confirmation import ClaimedReader
from layercache.resolver.derived import Derived
from layercache.resolver.fetch import Fetcher
from layercache.resolver.healing import healing
from layercache.resolver.identity import LayerIdentity
from layercache.resolver.leases import Leases
from layercache.resolver.opening import Opening
from layercache.resolver.plan import Way
from layercache.resolver.ranges import Ranges
from layercache.resolver.recompressed import Recompressed
from layercache.resolver.tier_writer import WrongEntryError
from layercache.transfer.finisher import Finisher
from layercache.transfer.follower import read_through
from layercache.transfer.layer_lock import LayerLock, LayerLocks
from layercache.transfer.share import Share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.near import Near
    from layercache.resolver.ranges import Part
    from layercache.streams.limits import Limits
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


class Bringing:
    """Goes along all of a plan. Thread-safe.

    One for each process that has to bring anything: what is on its way is a process's own.
    """

    def __init__(self, near: Near, limits: Limits, finish: Share | None) -> None:
        self._near = near
        self._keeper = keeper = near.keeper
        always = near.verify_always
        finisher = Finisher(finish or Share())
        self.passes = Fetcher(keeper, near.observers, limits, finisher, verify_always=always)
        self._recompressed = Recompressed(near.all, keeper, limits)
        self._claims = Claims(near.finder, self.passes, near.observers)
        self._opening = Opening(self.passes, near.entries, self._claims, verify_always=always)
        self.deliver = self._opening.deliver
        self._ranges = Ranges(
            near.entries,
            self.passes,
            self.ways,
            lambda layer, form: self._way(layer, form, layer.identity)(),
            verify_always=always,
        )
        self._leads = LayerLocks()
        self.leases = Leases(near.all, self.passes.running, keeper.background, near.observers)
        self.derived = Derived(near.all, keeper, near.observers)

    def open(
        self, layer: LayerState, form: Form, begun: LayerIdentity, first: Reader | None = None
    ) -> Reader:
        """The form, by the cheapest way. ``begun``: what was known of the layer when it was asked for;
        ``first``: what was opened since. Raises as `Resolver.open` does.
        """
        return healing(self._way(layer, form, begun), first)

    def open_part(self, layer: LayerState, form: Form, part: Part) -> Reader:
        """A part of the form: see `layercache.resolver.ranges`."""
        begun = layer.identity

        def way() -> Reader:
            layer.update(lambda now: now.sized_as(begun))
            self._ask_what_was_computed(layer, form)
            return self._ranges.open(layer, form, part)

        return healing(way)

    def _way(self, layer: LayerState, form: Form, begun: LayerIdentity) -> Callable[[], Reader]:
        """Opens the form; each time as if no size had been learned from an entry that was wrong."""

        def way() -> Reader:
            layer.update(lambda now: now.sized_as(begun))
            if not layer.identity.claimed_digests():
                return self._open(layer, form)
            return self._warm(layer, form) or self._claims.follow(layer, partial(self._open, layer, form))

        return way

    def _open(self, layer: LayerState, form: Form) -> Reader:
        self._ask_what_was_computed(layer, form)
        return self._warm(layer, form) or self._bring(layer, form)

    def _warm(self, layer: LayerState, form: Form) -> Reader | None:
        return self._near.open(layer, form, self.deliver)

    def _ask_what_was_computed(self, layer: LayerState, form: Form) -> None:
        """An image's config may lie: what we found ourselves is asked before a claim is followed."""
        identity = layer.identity
        claimed = (
            (form == UNCOMPRESSED or identity.asked)
            and identity.diff_id is not None
            and not identity.computed
        )
        if claimed and identity.digest and (fact := self._computed_here(identity.digest)):
            if fact.diff_id != identity.diff_id and self._keeper.is_half(fact):
                self._keeper.recant(fact)
            else:
                layer.update(lambda now: now.with_record(fact))

    def _learn_diff_id(self, layer: LayerState) -> None:
        """Another reader may have inflated the layer since it was looked up."""
        digest = layer.identity.digest
        if layer.identity.diff_id is None and digest and (fact := self._computed_here(digest)):
            layer.update(lambda now: now.with_record(fact))

    def _computed_here(self, digest: Digest) -> Association | None:
        """What tiers on this machine know. Others cost a round trip, and save an inflation at best."""
        return lookup.computed(lookup.on_this_machine(self._near.all), digest)

    def ways(self, layer: LayerState, form: Form) -> Iterator[Way]:
        """The ways to a form, in the order in which they are tried. Nothing is opened."""
        ways = self._near.plan(layer, form)
        return self._recompressed.among(ways, layer.identity) if layer.identity.plain else ways

    def _bring(self, layer: LayerState, form: Form) -> Reader:
        """The form's bytes, by one at a time in this process, and on this disk.

        The lock of the layer in this process is held until its first bytes are there, the lead among
        processes until the transfer has ended. It is taken under the former, never the other way round.
        """
        anchor = layer.identity.digest or layer.identity.diff_id
        if anchor is None:
            raise ValueError("a layer without a name")
        with self.passes.running.starting(anchor):
            if follower := self._join(layer, form):
                return follower
            lead = self._take_lead(anchor, form)
            try:
                # Another process that led before may have brought it, and computed what it is: so all of the
                # plan is run, its near part for the second time.
                if layer.identity.claimed_digests():
                    self._ask_what_was_computed(layer, form)
                elif form == UNCOMPRESSED:
                    self._learn_diff_id(layer)
                reader = self._go(layer, form, lead)
                if lead and (running := self.passes.running.last(anchor)):
                    running.transfer.led_by(lead)
                    lead = None
            finally:
                if lead:
                    lead.end()
            return reader

    def _take_lead(self, anchor: Hash, form: Form) -> LayerLock | None:
        """Wait for the process that brings this layer to the disk, then do it ourselves."""
        tier = self._keeper.store(form) or self._keeper.store(COMPRESSED)
        return self._leads.take(tier, anchor) if tier else None

    def _join(self, layer: LayerState, form: Form) -> Reader | None:
        """Read along with a transfer of this form, or inflate what one of the other brings."""
        identity = layer.identity
        names = identity.names(form)
        for name in names if form == COMPRESSED else (*names, identity.digest):
            if name and (follower := self.passes.join(layer, name, form)):
                return follower
        for digest in identity.claimed_digests() if form == COMPRESSED else ():
            if follower := self.passes.join(layer, digest, COMPRESSED):
                return self._claims.confirmed(layer, digest, follower)
        for digest in identity.digests() if form == UNCOMPRESSED else ():
            if follower := self.passes.join(layer, digest, COMPRESSED):
                joined = self.passes.running.get(digest, COMPRESSED)
                from_origin = joined is not None and joined.stage.from_origin
                return self.passes.inflate(layer, digest, follower, from_origin=from_origin)
        return None

    def _go(self, layer: LayerState, form: Form, lead: LayerLock | None) -> Reader:
        ways = self.ways(layer, form)
        for way in ways:
            if way.tier is None:
                come = partial(self._come_to, layer=layer, form=form)
                reader = self.leases.turn(way, layer.identity.size, lead, come)
                return reader or self._opening.follow(layer, form, way, way.open(), ways)
            if entry := self._near.entries.open(layer, way):
                return self._opening.follow(layer, form, way, entry, ways)
        raise no_way(self._near.all, layer, form)

    def _come_to(self, tier: Tier, layer: LayerState, form: Form) -> Reader | None:
        """The form by the ways through one tier, to which another machine may have brought it."""
        layer.give_up_responses()  # what was not there when the layer was looked up may be by now
        ways = self.ways(layer, form)
        for way in ways:
            if way.tier is tier and (entry := self._near.entries.open(layer, way)):
                return self._opening.follow(layer, form, way, entry, ways)
        return None

    def fill(self, layer: LayerState, forms: Sequence[Form]) -> None:
        """See to it that tiers have the forms, of which the tar comes first. Raises `ConfigError` where none
        keeps one; else as `open`. That a form is there already is a hit; that both are is one.
        """
        layer.stored.clear()
        for number, form in enumerate(forms):
            store = self._keeper.store(form)
            # Where there is a limit, what the pass of the tar has stored may have made room for the tar.
            if store is None or store.policy.max_size or store not in layer.stored.get(form, ()):
                self._fill(layer, form, counted=not number)

    def _fill(self, layer: LayerState, form: Form, *, counted: bool) -> None:
        while store := self._keeper.store(form):
            begun = layer.identity
            if not self._near.verify_always and self._is_in(store, layer, form, counted=counted):
                if not store.remote:  # there it was written down by who stored the blob
                    # A tar that nobody has read may have lost its end, so its size is not written down.
                    stated = layer.identity.sized_as(begun) if form == UNCOMPRESSED else layer.identity
                    self.passes.findings.claim(layer, [store], stated.fact)
                return
            with suppress(WrongEntryError), self._brought(layer, form) as reader:  # a wrong entry is met once
                own = self.passes.running.is_begun_for(layer)
                reader.run() if isinstance(reader, ClaimedReader) else read_through(reader)
                if store.write_failure is None:
                    self._keeper.check_size(form, layer.identity.size_of(form))
                    if not own:  # who joined another's transfer may know more of the layer than the other did
                        self.passes.findings.claim(layer, [store], layer.identity.fact)
                    return
            layer.update(partial(LayerIdentity.sized_as, earlier=begun))
        raise self._keeper.kept_nowhere(form)

    def _brought(self, layer: LayerState, form: Form) -> Reader:
        if layer.identity.claimed_digests():
            return self._way(layer, form, layer.identity)()
        self._ask_what_was_computed(layer, form)
        return self._bring(layer, form)

    def _is_in(self, tier: Tier, layer: LayerState, form: Form, *, counted: bool) -> bool:
        for name in layer.identity.names(form):
            way = Way(name, form, tier)
            if (size := self._near.entries.size(layer, way)) is not None:
                if counted:
                    self._near.entries.count_hit(layer, way, size)
                return True
        return False

    def end(self, *, finish: bool) -> None:
        """End what is on its way. ``finish``: see to its end what is worth it."""
        self.leases.stop()
        try:
            if finish:
                self.passes.running.give_up_or_finish()
                self.passes.finisher.wait()
        finally:
            self._near.finder.close()
            self.passes.finisher.close()
            self.passes.running.cancel(seconds=5)
