"""The core: given a layer and a form, go the cheapest way of the plan that leads to the bytes.

Before any way that is not near, a transfer of the same bytes that is on its way already is joined. What comes
from afar or is inflated is kept by the nearest tier that keeps it, in the same pass.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from layercache.backend import check_range
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver import lookup
from layercache.resolver.absence import no_way
from layercache.resolver.claims import Claims
from layercache.resolver.confirmation import ClaimedReader
from layercache.resolver.entries import Entries
from layercache.resolver.fetch import Fetcher
from layercache.resolver.finder import Finder
from layercache.resolver.healing import healing
from layercache.resolver.identity import LayerIdentity
from layercache.resolver.leases import Leases
from layercache.resolver.opening import Opening
from layercache.resolver.plan import Way, plan
from layercache.resolver.ranges import Ranges
from layercache.resolver.recompressed import Recompressed
from layercache.resolver.tier_writer import TierWriter, WrongEntryError
from layercache.resolver.uploads import LAST_WORDS
from layercache.transfer.finisher import NEVER, Finisher, Share
from layercache.transfer.follower import read_through
from layercache.transfer.layer_lock import LayerLock, LayerLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.events import Observers
    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.ranges import Part
    from layercache.streams.inflate import Limits
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


class Resolver:
    """Opens layers out of tiers and origins, and keeps what it had to fetch or make. Thread-safe."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        observers: Observers,
        limits: Limits,
        *,
        verify_always: bool = False,
        finish: Share = NEVER,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.keeper = TierWriter(tiers, observers, changed)
        finisher = Finisher(finish)
        self.passes = Fetcher(self.keeper, observers, limits, finisher, verify_always=verify_always)
        self._recompressed = Recompressed(tiers, self.keeper, limits)
        self.entries = Entries(self.keeper, observers, verify_always=verify_always)
        self.finder = Finder(tiers, self.keeper.refuted)
        self._claims = Claims(self.finder, self.passes, observers)
        self._opening = Opening(self.passes, self.entries, self._claims, verify_always=verify_always)
        self._ranges = Ranges(
            self.entries,
            self.passes,
            self.ways,
            lambda layer, form: self._way(layer, form)(),
            verify_always=verify_always,
        )
        self._leads = LayerLocks()
        self.leases = Leases(tiers, self.passes.running, self.keeper.background, observers)
        self.tiers = tiers
        self._verify_always = verify_always
        # Nearest tiers, whose bytes nobody keeps on their way: the first that can be written to, and those
        # before it, if all of them need no second look.
        readonly = sum(1 for _ in takewhile(lambda tier: tier.policy.readonly, tiers))
        trusted = tuple(takewhile(lambda tier: tier.policy.trusted, tiers[: readonly + 1]))
        self._near = () if verify_always else trusted or tuple(tiers[:1])

    def open(self, layer: LayerState, form: Form, start: int = 0, end: int | None = None) -> Reader:
        """The form's bytes from ``start`` to ``end`` (exclusive), by the cheapest way.

        `layercache.resolver.ranges` states what is promised of a part. Raises `ValueError` unless
        0 <= start <= end, `NotFoundError` where no way leads to them, `NotALayerError` for the tar of what is
        not a layer, `FormatError` where bytes and media type contradict each other, `BackendError`,
        `SourceError`. Reading raises `DigestMismatchError`, `FormatError` or `LimitError` before the end.
        """
        try:
            if start or end is not None:
                check_range(start, end)
                return self._open_part(layer, form, (start, end))
            way = self._way(layer, form)
            # Most reads end here: what was computed needs no question before the near tiers are looked at.
            return healing(way, self._warm(layer, form) if layer.identity.computed else None)
        finally:
            if layer.responses is not None:
                layer.give_up_responses()

    def _open_part(self, layer: LayerState, form: Form, part: Part) -> Reader:
        begun = layer.identity

        def way() -> Reader:
            layer.update(lambda now: now.sized_as(begun))
            self._ask_what_was_computed(layer, form)
            return self._ranges.open(layer, form, part)

        return healing(way)

    def _way(self, layer: LayerState, form: Form) -> Callable[[], Reader]:
        """Opens the form; each time as if no size had been learned from an entry that was wrong."""
        begun = layer.identity

        def way() -> Reader:
            layer.update(lambda now: now.sized_as(begun))
            if not layer.identity.claimed_digests():
                return self._open(layer, form)
            return self._warm(layer, form) or self._claims.follow(layer, partial(self._open, layer, form))

        return way

    def _open(self, layer: LayerState, form: Form) -> Reader:
        self._ask_what_was_computed(layer, form)
        return self._warm(layer, form) or self._bring(layer, form)

    def _ask_what_was_computed(self, layer: LayerState, form: Form) -> None:
        """An image's config may lie: what we found ourselves is asked before a claim is followed."""
        identity = layer.identity
        claimed = (
            (form == UNCOMPRESSED or identity.asked)
            and identity.diff_id is not None
            and not identity.computed
        )
        if claimed and identity.digest and (fact := self._computed_here(identity.digest)):
            if fact.diff_id != identity.diff_id and self.keeper.is_half(fact):
                self.keeper.recant(fact)
            else:
                layer.update(lambda now: now.with_record(fact))

    def _learn_diff_id(self, layer: LayerState) -> None:
        """Another reader may have inflated the layer since it was looked up."""
        digest = layer.identity.digest
        if layer.identity.diff_id is None and digest and (fact := self._computed_here(digest)):
            layer.update(lambda now: now.with_record(fact))

    def _computed_here(self, digest: Digest) -> Association | None:
        """What tiers on this machine know. Others cost a round trip, and save an inflation at best."""
        return lookup.computed(lookup.on_this_machine(self.tiers), digest)

    def ways(self, layer: LayerState, form: Form) -> Iterator[Way]:
        """The ways to a form, in the order in which they are tried. Nothing is opened."""
        identity = layer.identity
        ways = plan(identity, form, self.tiers, self._near, layer.source)
        return self._recompressed.among(ways, identity) if identity.plain else ways

    def _warm(self, layer: LayerState, form: Form) -> Reader | None:
        """The form by the near part of the plan: no more than an `open`."""
        # Without those through other blobs, for which a far tier would have to be asked.
        ways = plan(layer.identity, form, self.tiers, self._near, layer.source)
        for way in ways:
            if not way.near:
                return None
            if reader := self.entries.open(layer, way):
                return self._opening.deliver(layer, way, reader, ways)
        return None

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
        tier = self.keeper.store(form) or self.keeper.store(COMPRESSED)
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
            if entry := self.entries.open(layer, way):
                return self._opening.follow(layer, form, way, entry, ways)
        raise no_way(self.tiers, layer, form)

    def _come_to(self, tier: Tier, layer: LayerState, form: Form) -> Reader | None:
        """The form by the ways through one tier, to which another machine may have brought it."""
        ways = self.ways(layer, form)
        for way in ways:
            if way.tier is tier and (entry := self.entries.open(layer, way)):
                return self._opening.follow(layer, form, way, entry, ways)
        return None

    def fill(self, layer: LayerState, form: Form, *, counted: bool = True) -> None:
        """See to it that a tier has the form. Raises `ConfigError` where none keeps it; else as `open`.

        ``counted``: that it is there already is a hit, and not the second one of a request for both forms.
        """
        while store := self.keeper.store(form):
            begun = layer.identity
            if not self._verify_always and self._is_in(store, layer, form, counted=counted):
                if not store.remote:  # there it was written down by who stored the blob
                    # A tar that nobody has read may have lost its end, so its size is not written down.
                    stated = layer.identity.sized_as(begun) if form == UNCOMPRESSED else layer.identity
                    self.passes.findings.claim(layer, [store], stated.fact)
                return
            with suppress(WrongEntryError), self._brought(layer, form) as reader:  # a wrong entry is met once
                own = self.passes.running.is_begun_for(layer)
                reader.run() if isinstance(reader, ClaimedReader) else read_through(reader)
                if store.write_failure is None:
                    self.keeper.check_size(form, layer.identity.size_of(form))
                    if not own:  # who joined another's transfer may know more of the layer than the other did
                        self.passes.findings.claim(layer, [store], layer.identity.fact)
                    return
            layer.update(partial(LayerIdentity.sized_as, earlier=begun))
        raise self.keeper.kept_nowhere(form)

    def _brought(self, layer: LayerState, form: Form) -> Reader:
        if layer.identity.claimed_digests():
            return self._way(layer, form)()
        self._ask_what_was_computed(layer, form)
        return self._bring(layer, form)

    def _is_in(self, tier: Tier, layer: LayerState, form: Form, *, counted: bool) -> bool:
        for name in layer.identity.names(form):
            way = Way(name, form, tier)
            if (size := self.entries.size(layer, way)) is not None:
                if counted:
                    self.entries.count_hit(layer, way, size)
                return True
        return False

    def is_on_its_way(self, layer: LayerState, form: Form) -> bool:
        return any(self.passes.running.get(name, form) for name in layer.identity.names(form))

    def path(self, layer: LayerState, form: Form) -> str | None:
        """The file in which a trusted tier has the form."""
        for tier in self.tiers:
            for name in layer.identity.names(form) if tier.policy.trusted else ():
                way, path = Way(name, form, tier), tier.blobs.path(name)
                if path is None or not (reader := self.entries.open(layer, way)):
                    continue
                self.entries.hit(layer, way, reader).close()
                if not self._verify_always or self.keeper.look_again(tier, name, form) is None:
                    return path
        return None

    def doubt(self, layer: LayerState, form: Form) -> bool:
        """A reader found this form wrong: hash what trusted tiers have of it; whether any was quarantined."""
        names = layer.identity.names(form)
        entries = [(tier, name) for tier in self.tiers if tier.policy.trusted for name in names]
        there = [(tier, name) for tier, name in entries if (tier, name) not in self.keeper.wrong]
        found = [self.keeper.look_again(*each, form) for each in there if each[0].blobs.has(each[1])]
        return any(found)

    def finish(self) -> None:
        """Wait until transfers without readers have ended."""
        self.passes.finisher.wait()

    def close(self, *, flush: bool) -> None:
        """End what is on its way, and wait for uploads. A strict cache raises what failed.

        ``flush``: see to its end what is worth it, unless interrupted; else transfers are given up.
        """
        self.leases.stop()
        try:
            self._end_transfers(finish=flush)
            self.keeper.background.flush(None if flush else LAST_WORDS)
        finally:
            self.leases.close()

    def _end_transfers(self, *, finish: bool) -> None:
        running = self.passes.running
        try:
            if finish:
                running.give_up_or_finish()
                self.finish()
        finally:
            self.finder.close()
            self.passes.finisher.close()
            running.cancel(seconds=5)
