"""The going of a way: bytes come in or are inflated, are checked, and are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import BackendError, LayercacheError, LimitError, NotALayerError
from layercache.events import Event, Observers
from layercache.oci.descriptor import NO_COMPRESSION, compression_of, is_layer, layer_type
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver.confirmation import RefutingReader
from layercache.resolver.identity import contradiction
from layercache.resolver.in_flight import InFlight, InFlightTransfer
from layercache.streams.inflate import InflatedReader, Limits
from layercache.streams.readers import HashedReader, HeadReader, sniff, sniff_layer
from layercache.tiers.association import Association
from layercache.transfer.follower import Follower, read_through
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.backend import Reader
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.tier_writer import TierWriter
    from layercache.tiers.tier import Tier

THREADS_FROM = 8 << 20
"""Bytes of a compressed blob from which threads inside a layer are worth their start, on idle cores."""


class Fetcher:
    """Transfers that fetch and inflate, and hand what they bring to the keeper. Thread-safe."""

    def __init__(
        self, keeper: TierWriter, observers: Observers, limits: Limits, *, verify_always: bool = False
    ) -> None:
        self.running = InFlight()
        self.expected_layers = 0
        self.keeper = keeper
        self.observers = observers
        self.limits = limits
        self._rehash = verify_always
        self._cores = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )

    def join(self, known: LayerIdentity, name: Hash, form: Form) -> Reader | None:
        """Read along with a transfer that is on its way, if one is, and learn what it learns.

        One that expects another diff ID than this asker does is none to join.
        """
        running = self.running.get(name, form)
        if running is None:
            return None
        other = running.known
        if form == UNCOMPRESSED and known.diff_id and other.diff_id and known.diff_id != other.diff_id:
            return None

        def learn() -> None:
            if form == COMPRESSED:
                known.size = other.size
            elif other.fact:
                self._judge(known, other.fact)

        return running.transfer.follow(learn)

    def bring(
        self,
        known: LayerIdentity,
        name: Hash,
        form: Form,
        reader: Reader,
        check: Callable[[Hash, int], None],
        *,
        where: str,
        tier: Tier | None = None,
        inflating: bool = False,
        spooled_for: Tier | None = None,
    ) -> Reader:
        """A blob out of a far tier, or (``tier`` None) out of its origin: checked, and kept, as it passes.

        ``spooled_for``: where no nearer tier keeps it, it is spooled all the same, for this one.
        """
        keeper = self.keeper
        size = known.size if form == COMPRESSED else known.uncompressed_size
        self.observers.emit(Event("fetching", name, form, where, total=size))

        def finish(found: Hash, seen: int) -> None:
            check(found, seen)
            if form == COMPRESSED:
                known.size = seen
            self.observers.emit(Event("fetched", name, form, where, size=seen))

        def publish(spool: TierSpool, found: Hash) -> None:
            total = known.size if form == COMPRESSED else known.uncompressed_size
            kept = keeper.keep(spool, found, form, total or 0, everywhere=tier is None, layer=known.digest)
            if not inflating:
                keeper.claim(known, kept)

        threads = self.idle(known.size, known.digest)
        store = keeper.store(form, nearer_than=tier) or spooled_for
        return self.receive(
            reader,
            form,
            store,
            finish,
            publish,
            known,
            [name],
            algorithm=name.algorithm,
            size=size,
            threads=threads,
            inflating=inflating,
            from_origin=tier is None,
        )

    def inflate(
        self,
        known: LayerIdentity,
        digest: Digest,
        reader: Reader,
        *,
        tier: Tier | None = None,
        from_origin: bool = False,
    ) -> Reader:
        """The tar inside a compressed blob, made in one pass; both names of the layer are learnt.

        ``tier`` is where the blob was found; ``from_origin``: in no tier, and so every tier that keeps tars
        gets this one. Raises `NotALayerError`, `FormatError`; reading raises `DigestMismatchError` where the
        diff ID is another than was claimed.
        """
        keeper = self.keeper
        try:
            head = HeadReader(reader)
            try:
                compression = self._compression(known, digest, head.head)
            except NotALayerError as error:
                self._doubt(digest, reader, tier, True)  # wrong bytes are wrong, whatever they look like
                self._refute(known, digest, error)
                raise
        except BaseException:
            reader.close()
            raise
        algorithm = known.diff_id.algorithm if known.diff_id else digest.algorithm
        plain = compression == NO_COMPRESSION
        tar: Reader = head
        if not plain:
            expected = known.uncompressed_size
            if expected is None and known.claim:
                expected = known.claim.uncompressed_size
            doubt = partial(self._doubt, digest, reader, tier)
            tar = InflatedReader(head, compression, self.limits, digest, expected=expected, doubt=doubt)
        if known.asked and not plain:
            tar = RefutingReader(tar, head, partial(self._refute, known, digest))
        if not plain:
            total = known.uncompressed_size
            self.observers.emit(Event("inflating", known.diff_id or digest, UNCOMPRESSED, "", total=total))

        def finish(found: Hash, seen: int) -> None:
            if known.computed and found != known.diff_id and tier is not None:
                self._doubt_fact(known, digest, tier)
            self._judge(known, _fact(known, digest, DiffID(found), seen, compression))
            if not plain:
                self.observers.emit(Event("inflated", found, UNCOMPRESSED, "", size=seen))
            if store is None and known.fact:
                keeper.record(known.fact, keeper.writable() if from_origin else ())

        def publish(spool: TierSpool, found: Hash) -> None:
            size = known.uncompressed_size or 0
            kept = keeper.keep(spool, found, UNCOMPRESSED, size, everywhere=from_origin, layer=known.digest)
            if known.fact:
                keeper.record(known.fact, keeper.writable() if from_origin else kept)

        # A plain tar that is named by the same algorithm in both roles is one blob, kept as that.
        store = None if plain and algorithm == digest.algorithm else keeper.store(UNCOMPRESSED)
        names = [digest, *([known.diff_id] if known.diff_id else [])]
        threads = self.idle(known.size, digest)
        return self.receive(
            tar,
            UNCOMPRESSED,
            store,
            finish,
            publish,
            known,
            names,
            algorithm=algorithm,
            threads=threads,
            source=reader,
            from_origin=from_origin,
        )

    def _doubt(self, digest: Digest, blob: Reader, tier: Tier | None, ended: bool) -> None:
        """What is made of a blob is broken, or too much: look whether the blob is what its name says.

        Raises `WrongEntryError`, or what else the blob's reader finds, where it is not. ``ended``: nobody
        reads on. Until then a blob that comes from its origin and is kept nowhere cannot be looked at.
        """
        if isinstance(blob, Follower):
            blob.run()
        elif tier is not None:
            if wrong := self.keeper.look_again(tier, digest, COMPRESSED):
                raise wrong
        elif ended:
            read_through(blob)

    def _doubt_fact(self, known: LayerIdentity, digest: Digest, tier: Tier) -> None:
        """A blob has another tar inside than was computed: either it is wrong, or a fact of ours is.

        A fact of which a bit rotted is dropped, and what is true is learnt instead. One that is whole is
        left to `_judge`.
        """
        if wrong := self.keeper.look_again(tier, digest, COMPRESSED):
            raise wrong
        if fact := known.fact:
            rotten = self.keeper.is_half(fact)
            self.keeper.recant(fact)
            if rotten and known.asked != known.diff_id:
                known.diff_id = known.uncompressed_size = None
            known.computed = False

    def _compression(self, known: LayerIdentity, digest: Digest, head: bytes) -> str:
        """What the blob's first bytes say. A media type that contradicts them is reported as an event."""
        stated = compression_of(known.media_type)
        compression = sniff(head) if stated is None and known.diff_id is None else sniff_layer(head)
        if not is_layer(known.media_type) or compression is None:
            what = known.media_type if not is_layer(known.media_type) else "neither gzip, nor zstd, nor tar"
            hint = "ask for the compressed form, which is the blob as it is"
            raise NotALayerError(f"{digest} is no layer: {what}", hint=hint)
        if stated not in (None, compression):
            found = "not compressed" if compression == NO_COMPRESSION else compression
            note = f"it is {found} by its first bytes, though its media type is {known.media_type}"
            self.observers.emit(Event("mislabelled", digest, COMPRESSED, "", note=note))
        return compression

    def _judge(self, known: LayerIdentity, fact: Association) -> None:
        """Learn what was computed. A claim that it refutes is deleted, and an error if the asker made it."""
        claimed = known.diff_id
        if claimed is not None and claimed != fact.diff_id:
            self.keeper.record(fact)
            self.keeper.refute(replace(fact, diff_id=claimed, computed=False))
            error = contradiction(fact, claimed)
            if not known.hearsay:
                raise error
            self.observers.emit(Event("failed", fact.digest, COMPRESSED, "a claim", note=error.message))
        known.learn(fact)

    def _refute(self, known: LayerIdentity, digest: Digest, error: LayercacheError) -> None:
        """A blob that a diff ID has led to has no tar inside: so the claim is false that it has this one."""
        if known.asked is None or known.diff_id is None or known.computed:
            return
        if isinstance(error, LimitError):  # which may be raised
            self.keeper.refuted.add((digest, known.diff_id))
        else:
            self.keeper.refute(Association(digest, known.diff_id, size=0))

    def receive(
        self,
        reader: Reader,
        form: Form,
        store: Tier | None,
        finish: Callable[[Hash, int], None],
        publish: Callable[[TierSpool, Hash], None],
        known: LayerIdentity,
        names: Sequence[Hash] = (),
        *,
        algorithm: str = "sha256",
        size: int | None = None,
        threads: bool = False,
        inflating: bool = False,
        source: Reader | None = None,
        from_origin: bool = False,
    ) -> Reader:
        """Bytes that are hashed and judged as they pass, and spooled in a tier where one keeps them.

        ``source`` is what they are made of, where they are. ``threads`` drive it; without, its readers do.
        ``inflating``: what comes is inflated meanwhile.

        Others who ask for one of the ``names`` in this form meanwhile read along, and learn what
        ``finish`` put into ``known``.
        """
        try:
            spool = self._spool(store, form)
        except BaseException:
            reader.close()
            raise
        if spool is None:
            return HashedReader(reader, finish, algorithm=algorithm, size=size)
        bytes_event = Event("bytes", names[-1], form, spool.tier.name, total=size) if names else None
        stage = _Stage(self, form, finish, publish, spool.tier, bytes_event)
        transfer = Transfer(reader, spool, stage, rehash=self._rehash, algorithm=algorithm, size=size)
        stage.transfer = transfer
        follower = transfer.follow()
        assert follower is not None, "a transfer that has not begun has not ended"
        self.running.add([(name, form) for name in names], InFlightTransfer(transfer, known, from_origin))
        # Beside threads that inflate, a second one for the blob costs more than it gains: they take turns.
        if threads and transfer.start(threads=1 if inflating else 2) and isinstance(source, Follower):
            source.set_pace()
        return follower

    def _spool(self, store: Tier | None, form: Form) -> TierSpool | None:
        """A spool of this tier, or where it fails of the next one that keeps the form; None: of none."""
        while store is not None:
            try:
                return TierSpool(store)
            except BackendError as error:
                store.mark_failed(error, writing=True)
                store = self.keeper.store(form)
        return None

    def idle(self, size: int | None, digest: Digest | None) -> bool:
        """Whether a blob of so many bytes is big, and cores would idle if each layer had one thread."""
        if size is None or size < THREADS_FROM:
            return False
        others = self.running.digests() - {digest}
        return max(self.expected_layers, len(others) + 1) < self._cores


@dataclass(slots=True)
class _Stage:
    """What `Fetcher.receive` was given, as a transfer calls it."""

    fetcher: Fetcher
    form: Form
    verified: Callable[[Hash, int], None]
    stored: Callable[[TierSpool, Hash], None]
    tier: Tier
    bytes_event: Event | None
    transfer: Transfer | None = None

    def settled(self) -> None:
        if self.transfer:
            self.fetcher.running.remove(self.transfer)

    def progressed(self, count: int) -> None:
        if self.bytes_event and self.fetcher.observers.watched:
            self.fetcher.observers.emit(replace(self.bytes_event, size=count))

    def damaged(self, found: Hash) -> LayercacheError:
        return self.fetcher.keeper.changed_meanwhile(self.tier, found, self.form)


def _fact(known: LayerIdentity, digest: Digest, diff_id: DiffID, size: int, compression: str) -> Association:
    return Association(
        digest=digest,
        diff_id=diff_id,
        size=known.size or 0,
        media_type=layer_type(known.media_type, compression),
        uncompressed_size=size,
        computed=True,
    )
