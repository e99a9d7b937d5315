"""Fetches and inflates blobs: stream, verify, store."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import BackendError, LayercacheError, LimitError, NotALayerError
from layercache.events import Event, Observers
from layercache.oci.descriptor import NO_COMPRESSION, compression_of, is_layer
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver.confirmation import RefutingReader
from layercache.resolver.identity import contradiction
from layercache.resolver.in_flight import InFlight, InFlightTransfer
from layercache.resolver.stage import FetchStage, Stage, TarStage
from layercache.streams.inflate import InflatedReader, Limits
from layercache.streams.readers import HashedReader, HeadReader, layer_compression, not_a_layer
from layercache.tiers.association import Association
from layercache.transfer.follower import Follower, read_through
from layercache.transfer.spool import TierSpool
from layercache.transfer.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.backend import Reader
    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.identity import Outcome
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way
    from layercache.resolver.tier_writer import TierWriter
    from layercache.tiers.tier import Tier

THREADS_FROM = 8 << 20
"""Bytes of a compressed blob from which threads inside a layer are worth their start, on idle cores."""


class Fetcher:
    """Runs the stages of fetches, and lets others join those that are on their way.

    Thread-safe. What threads share is `running`, which has a lock inside, and ``expected_layers``, a hint
    that `Cache.expecting` writes under its own lock. A stage belongs to one transfer.
    """

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

    def join(self, layer: LayerState, name: Hash, form: Form) -> Reader | None:
        """Read along with a transfer that is on its way, if one is, and learn what it has found out.

        A tar that is made for somebody who states another diff ID is not joined: where that is a lie the
        transfer fails, and a name in another algorithm cannot be checked by its hash.
        """
        running = self.running.get(name, form)
        if running is None:
            return None
        transfer, stage = running.transfer, running.stage
        mine, theirs = layer.identity.diff_id, stage.layer.identity.diff_id
        if (
            form == UNCOMPRESSED
            and mine
            and (theirs not in (None, mine) or stage.algorithm != mine.algorithm)
        ):
            return None

        def learn() -> None:  # in the thread of the follower, before it gets the last bytes
            if stage.outcome is not None:
                self.learn(layer, stage.outcome)
            else:  # a ready tar: nobody has seen the blob
                layer.update(lambda now: now.counted(form, transfer.size))

        return transfer.follow(learn)

    def fetch(
        self,
        layer: LayerState,
        way: Way,
        reader: Reader,
        *,
        inflating: bool = False,
        spooled_for: Tier | None = None,
    ) -> Reader:
        """What comes from a far tier, or from the source: checked, and kept, as it passes.

        ``spooled_for``: where no nearer tier keeps it, it is spooled nevertheless, for this one.
        """
        form, identity = way.form, layer.identity
        size = identity.size_of(form)
        self.observers.emit(Event("fetching", way.name, form, way.place, total=size))
        # Beside threads that inflate, a second one for the blob costs more than it gains: they take turns.
        threads = 1 if inflating else 2
        return self.run(
            FetchStage(
                fetcher=self,
                layer=layer,
                reader=reader,
                form=form,
                target=self.keeper.store(form, nearer_than=way.tier) or spooled_for,
                algorithm=way.name.algorithm,
                names=[way.name],
                size=size,
                threads=threads if self.idle(identity.size, identity.digest) else 0,
                from_origin=way.tier is None,
                way=way,
                inflating=inflating,
            )
        )

    def inflate(
        self,
        layer: LayerState,
        digest: Digest,
        blob: Reader,
        *,
        tier: Tier | None = None,
        from_origin: bool = False,
    ) -> Reader:
        """The tar inside a compressed blob, made in one pass; both names of the layer are learnt.

        ``tier`` is where the blob was found; ``from_origin``: in no tier, so every tier that keeps tars
        gets this one. Raises `NotALayerError`, `FormatError`; reading raises `DigestMismatchError` where the
        diff ID is another than was claimed.
        """
        head, compression = self._looked_into(layer, digest, blob, tier)
        identity = layer.identity
        plain = compression == NO_COMPRESSION
        algorithm = identity.diff_id.algorithm if identity.diff_id else digest.algorithm
        # A plain tar that is named by the same algorithm in both roles is one blob, kept as that.
        same = plain and algorithm == digest.algorithm
        tar = head if plain else self._inflated(layer, digest, blob, head, compression, tier)
        return self.run(
            TarStage(
                fetcher=self,
                layer=layer,
                reader=tar,
                form=UNCOMPRESSED,
                target=None if same else self.keeper.store(UNCOMPRESSED),
                algorithm=algorithm,
                names=[digest, *([identity.diff_id] if identity.diff_id else [])],
                threads=2 if self.idle(identity.size, digest) else 0,
                source=blob,
                from_origin=from_origin,
                digest=digest,
                compression=compression,
                tier=tier,
            )
        )

    def _looked_into(
        self, layer: LayerState, digest: Digest, blob: Reader, tier: Tier | None
    ) -> tuple[HeadReader, str]:
        """The blob, its first bytes looked at, and its compression. Closed where it is not a layer."""
        try:
            head = HeadReader(blob)
            try:
                return head, self._compression(layer, digest, head.head)
            except NotALayerError as error:
                self._doubt(digest, blob, tier, True)  # wrong bytes are wrong, whatever they look like
                self._refute(layer, digest, error)
                raise
        except BaseException:
            blob.close()
            raise

    def _inflated(
        self,
        layer: LayerState,
        digest: Digest,
        blob: Reader,
        head: HeadReader,
        compression: str,
        tier: Tier | None,
    ) -> Reader:
        identity = layer.identity
        expected = identity.uncompressed_size
        if expected is None and identity.claim:
            expected = identity.claim.uncompressed_size
        doubt = partial(self._doubt, digest, blob, tier)
        tar: Reader = InflatedReader(head, compression, self.limits, digest, expected=expected, doubt=doubt)
        if identity.asked:
            tar = RefutingReader(tar, head, partial(self._refute, layer, digest))
        total = identity.uncompressed_size
        self.observers.emit(Event("inflating", identity.diff_id or digest, UNCOMPRESSED, "", total=total))
        return tar

    def run(self, stage: Stage) -> Reader:
        """The bytes of a stage, hashed and judged as they pass, and spooled where a tier keeps them."""
        try:
            spool = self._spool(stage.target, stage.form)
        except BaseException:
            stage.reader.close()
            raise
        reader = stage.observe() if self.observers.observed else stage.reader
        if spool is None:
            return HashedReader(reader, stage.verified, algorithm=stage.algorithm, size=stage.size)
        transfer = Transfer(
            reader, spool, stage, rehash=self._rehash, algorithm=stage.algorithm, size=stage.size
        )
        stage.begin(transfer, spool.tier)
        follower = transfer.follow()
        assert follower is not None, "a transfer that has not begun has not ended"
        self.running.add([(name, stage.form) for name in stage.names], InFlightTransfer(transfer, stage))
        if stage.threads and transfer.start(threads=stage.threads) and isinstance(stage.source, Follower):
            stage.source.set_pace()
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
        """Whether a blob of this size is big, and cores would idle if each layer had one thread."""
        if size is None or size < THREADS_FROM:
            return False
        others = self.running.digests() - {digest}
        return max(self.expected_layers, len(others) + 1) < self._cores

    # What was found out

    def learn(self, layer: LayerState, outcome: Outcome) -> None:
        """Learn what a pass found out. A claim that it refutes is deleted, and an error if the asker's."""
        identity, digest = layer.identity, outcome.digest
        claimed, found = identity.diff_id, outcome.diff_id
        if claimed is not None and found is not None and claimed != found:
            if fact := outcome.fact:
                self.keeper.record(fact)
            self.keeper.refute(Association(digest, claimed, size=0))
            error = contradiction(digest, found, claimed)
            if not identity.unconfirmed:
                raise error
            self.observers.emit(Event("failed", digest, COMPRESSED, "a claim", note=error.message))
        layer.update(lambda now: now.confirmed_by(outcome))

    def claim(self, layer: LayerState, kept: Iterable[Tier]) -> None:
        """Write down what the asker says of the blob, where it is kept, and learn what is known there."""
        if (fact := layer.identity.fact) and (found := self.keeper.claim(fact, kept)):
            layer.update(lambda now: now.with_record(found))

    def doubt_fact(self, layer: LayerState, digest: Digest, tier: Tier) -> None:
        """A blob has another tar inside than was computed: either it is wrong, or a fact of ours is.

        A fact of which a bit rotted is dropped, and what is true is learnt instead. One that is whole is
        left to `learn`.
        """
        if wrong := self.keeper.look_again(tier, digest, COMPRESSED):
            raise wrong
        if fact := layer.identity.fact:
            rotten = self.keeper.is_half(fact)
            self.keeper.recant(fact)
            layer.update(lambda now: now.disproved(rotten=rotten))

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

    def _refute(self, layer: LayerState, digest: Digest, error: LayercacheError) -> None:
        """A blob that a diff ID has led to has no tar inside: so the claim is false that it has this one."""
        identity = layer.identity
        if identity.asked is None or identity.diff_id is None or identity.computed:
            return
        if isinstance(error, LimitError):  # which may be raised
            self.keeper.refuted.add((digest, identity.diff_id))
        else:
            self.keeper.refute(Association(digest, identity.diff_id, size=0))

    def _compression(self, layer: LayerState, digest: Digest, head: bytes) -> str:
        """What the blob's first bytes say. A media type that contradicts them is reported as an event."""
        media_type = layer.identity.media_type
        stated = compression_of(media_type)
        if not is_layer(media_type):
            raise not_a_layer(digest, media_type)
        if not head and stated is None and layer.identity.diff_id is None:
            raise not_a_layer(digest, "it is empty")  # only where somebody says so an empty blob is a layer
        compression = layer_compression(head, digest)
        if stated not in (None, compression):
            found = "not compressed" if compression == NO_COMPRESSION else compression
            note = f"it is {found} by its first bytes, though its media type is {media_type}"
            self.observers.emit(Event("mislabelled", digest, COMPRESSED, "", note=note))
        return compression
