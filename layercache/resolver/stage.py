"""One form of a layer on its way: what its bytes must be, and what becomes of them then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, LayercacheError
from layercache.events import Event
from layercache.oci.descriptor import NO_COMPRESSION, layer_type
from layercache.oci.digest import DiffID, Digest
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.confirmation import RefutingReader
from layercache.resolver.identity import Outcome
from layercache.resolver.tier_writer import WrongEntryError
from layercache.sources.origin import Rejectable
from layercache.statistics.places import place_of
from layercache.streams.counted import CountedReader
from layercache.streams.inflate import InflatedReader
from layercache.streams.observed import ObservedReader
from layercache.streams.readers import HashedReader, StatedSizeError, check_hash
from layercache.transfer.follower import Follower
from layercache.transfer.growing import GivenUpError
from layercache.transfer.share import NEVER, Share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.backend import Reader
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.resolver.findings import Findings
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way
    from layercache.statistics.places import Place
    from layercache.tiers.tier import Tier
    from layercache.transfer.spool import TierSpool
    from layercache.transfer.transfer import Transfer


@dataclass(eq=False, kw_only=True)
class Stage(ABC):
    """The `layercache.transfer.stage.Stage` of one form: a fetch is one, or two with an inflater between.

    ``reader`` gives the bytes, out of ``source`` where they are made of others; ``target``: the tier that
    keeps them, if one does. ``size``: bytes that are expected. Others who ask for one of the ``names`` in
    this form read along. ``threads`` drive it; without any, its readers do. ``from_origin``: what comes is
    new to every tier. ``share``: how much must have been fetched for it to go on without readers.

    ``layer`` is the state of the layer that was asked for first. ``outcome`` is for those who joined: the
    thread that drives the transfer writes it in `check`, before the transfer lets any follower see its last
    bytes; so a follower that was let through reads it without a lock.
    """

    findings: Findings
    layer: LayerState
    reader: Reader
    form: Form
    target: Tier | None
    algorithm: str
    names: Sequence[Hash] = ()
    size: int | None = None
    threads: int = 0
    source: Reader | None = None
    from_origin: bool = False
    share: Share = NEVER
    outcome: Outcome | None = field(default=None, init=False)
    _transfer: Transfer | None = field(default=None, init=False)
    _spooled_in: Tier | None = field(default=None, init=False)
    _ended: Callable[[Transfer], object] = field(init=False, repr=False)
    _observed: ObservedReader | None = field(default=None, init=False)
    _is_judged: bool = field(default=False, init=False)

    def begin(self, transfer: Transfer, tier: Tier, ended: Callable[[Transfer], object]) -> None:
        """It is on its way, in a spool of this tier; ``ended`` is called when it has settled."""
        self._transfer, self._spooled_in, self._ended = transfer, tier, ended

    def observe(self) -> Reader:
        """The reader, looked at by the observers of this pass."""
        name, observers = self.names[-1] if self.names else None, self.findings.observers
        made = observers.begin_pass(name, self.form, self.size)
        report = partial(observers.drop, name, self.form)
        self._observed = ObservedReader(self.reader, made, report)
        return self._observed

    def counted(self, reader: Reader) -> Reader:
        """The reader of a pass without a spool, which has nobody else to count what is fetched."""
        return reader

    def verified(self, found: Hash, size: int) -> None:
        self._is_judged = True
        try:
            self.check(found, size)
        except BaseException as error:
            if self._observed is not None:
                self._observed.refuse(error)
            raise
        if self._observed is not None:
            self._observed.end(found)

    @abstractmethod
    def check(self, found: Hash, size: int) -> None:
        """All bytes have come: judge them, and learn what they say of the layer. Raises if they are wrong."""

    @abstractmethod
    def stored(self, spool: TierSpool, found: Hash) -> None: ...

    def settled(self, error: BaseException | None) -> None:
        if self._transfer is not None:
            self._ended(self._transfer)
            # Readers raise the error. Without readers, only this event reports it.
            if error is not None and (self._transfer.is_unattended or _is_given_up(error)):
                self.given_up(self._transfer.received, error)

    def given_up(self, received: int, error: BaseException) -> None:
        """Report that it ended early, and that its bytes are lost."""
        if self.names:
            note = error.message if isinstance(error, LayercacheError) else type(error).__name__
            event = Event("given_up", self.names[-1], self.form, self.where, received, self.size, note)
            self.findings.observers.emit(event)

    @property
    def where(self) -> str:
        """Where the bytes come from; empty if they are made here."""
        return ""

    def is_worth_finishing(self) -> bool:
        """Whether its bytes would be kept, and much of what they cost was paid already."""
        tier, fetched = self.target, self._fetched()
        return (
            tier is not None
            and fetched is not None
            and self.share.is_exceeded(*fetched)
            and tier.write_failure is None
            and tier.blobs.fits(self.size or 0)
        )

    def _fetched(self) -> tuple[int, int | None] | None:
        """Bytes that were fetched for it so far, and of how many; None if they are at hand."""
        return None

    def finishing(self) -> None:
        if self.names and self._transfer:
            received = self._transfer.received
            event = Event("finishing", self.names[-1], self.form, self.where, received, self.size)
            self.findings.observers.emit(event)

    def progressed(self, count: int) -> None:
        tier = self.target
        failure = tier.write_failure if tier is not None and tier.lost else None
        if failure and self._transfer and self._transfer.is_unattended:
            raise failure  # the disk is full: nobody would get the rest
        observers = self.findings.observers
        if self._spooled_in and observers.watched:
            name = self.names[-1] if self.names else None
            observers.emit(Event("bytes", name, self.form, self._spooled_in.name, count, self.size))

    def damaged(self, found: Hash) -> LayercacheError:
        assert self._spooled_in is not None, "what was published stood in a spool"
        return self.findings.keeper.changed_meanwhile(self._spooled_in, found, self.form)


@dataclass(eq=False, kw_only=True)
class FetchStage(Stage):
    """A blob, or a ready tar, as it comes from a farther tier or from the source.

    ``inflating``: the tar inside is made in the same pass, and settles what a claim says. ``kept``: the
    target keeps it; otherwise it is only spooled there.
    """

    way: Way
    inflating: bool
    kept: bool

    @property
    def where(self) -> str:
        return self._place.where

    @property
    def _place(self) -> Place:
        return place_of(self.reader) or self.way.place

    def _fetched(self) -> tuple[int, int | None] | None:
        assert self._transfer is not None, "a pass without a spool is not finished"
        return (self._transfer.received, self.size or self.reader.size) if self.kept else None

    def progressed(self, count: int) -> None:
        self._received(count)
        super().progressed(count)

    def _received(self, count: int) -> None:
        self.findings.observers.received(self._place, count)

    def counted(self, reader: Reader) -> Reader:
        def closed(received: int) -> None:
            if not self._is_judged:
                self.given_up(received, GivenUpError())

        return CountedReader(reader, self._received, closed)

    def check(self, found: Hash, size: int) -> None:
        way = self.way
        if way.tier is not None:
            self.findings.keeper.check(way, self.reader.size, found, size)
        else:
            self._check_source(found, size)
        if self.form == COMPRESSED:
            self.outcome = outcome = Outcome(Digest(way.name), size)
            self.layer.update(lambda now: now.confirmed_by(outcome))
        place = self._place
        saved = self.layer.identity.saved(way.name, self.form, size) if place.kind == "tier" else (0, 0)
        self.findings.observers.emit(
            Event("fetched", way.name, self.form, place.where, size=size, place=place, saved=saved)
        )

    def _check_source(self, found: Hash, size: int) -> None:
        try:
            check_hash(self.way.name, self.layer.identity.size, found, size)
        except StatedSizeError:
            raise
        except DigestMismatchError as error:
            if isinstance(self.reader, Rejectable) and self.reader.refute(error):
                hint = "it came from a mirror: another try takes it from elsewhere"
                where = self.where
                raise WrongEntryError(error.message, looked_in=[where], hint=hint) from error
            raise

    def stored(self, spool: TierSpool, found: Hash) -> None:
        identity = self.layer.identity
        self.layer.stored[self.form] = kept = self.findings.keeper.keep(
            spool,
            found,
            self.form,
            everywhere=self.from_origin,
            layer=identity.digest,
            plain=identity.plain,
            # The way began after none was found in any nearer tier.
            new=self.kept and spool.tier is self.target and self.way.inside is None,
        )
        if not self.inflating or (self._transfer and self._transfer.is_unattended):
            self.findings.claim(self.layer, kept, self.layer.identity.fact)


@dataclass(eq=False, kw_only=True)
class TarStage(Stage):
    """The tar that is inflated from a blob: both names are learned. ``tier``: where the blob was found."""

    digest: Digest
    compression: str
    tier: Tier | None

    def _fetched(self) -> tuple[int, int | None] | None:
        source = self.source
        if isinstance(source, Follower):
            return source.received, source.size
        near = self.tier is not None and self.tier.policy.trusted
        return (source.seen, source.size) if isinstance(source, HashedReader) and not near else None

    def check(self, found: Hash, size: int) -> None:
        findings, layer, diff_id = self.findings, self.layer, DiffID(found)
        if layer.identity.computed and diff_id != layer.identity.diff_id and self.tier is not None:
            findings.doubt_fact(layer, self.digest, self.tier)
        identity, source = layer.identity, self.source
        media_type = layer_type(identity.media_type, self.compression)
        # Who joined another blob of the same tar still means his own.
        blob_size = identity.size if identity.digest == self.digest or source is None else source.size
        self.outcome = Outcome(self.digest, blob_size, diff_id, size, media_type)
        findings.learn(layer, self.outcome)
        if self.compression != NO_COMPRESSION:
            seconds = self.reader.seconds if isinstance(self.reader, InflatedReader | RefutingReader) else 0.0
            event = Event("inflated", found, UNCOMPRESSED, "", size=size, seconds=seconds)
            findings.observers.emit(event)
        if self._transfer is None:  # it is kept nowhere, so `stored` is not called
            self._record(())

    def stored(self, spool: TierSpool, found: Hash) -> None:
        self.layer.stored[self.form] = kept = self.findings.keeper.keep(
            spool, found, UNCOMPRESSED, everywhere=self.from_origin, layer=self.digest
        )
        self._record(kept)

    def _record(self, kept: Sequence[Tier]) -> None:
        keeper = self.findings.keeper
        if self.outcome and (fact := self.outcome.fact):
            keeper.record(fact, keeper.writable() if self.from_origin else kept)


def _is_given_up(error: BaseException) -> bool:
    """Whether the readers left, or the one that drove the transfer was interrupted."""
    return isinstance(error, GivenUpError) or not isinstance(error, Exception)
