"""Fetches and inflates blobs: stream, verify, store."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotALayerError
from layercache.events import Event, Observers
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver.confirmation import RefutingReader
from layercache.resolver.findings import Findings
from layercache.resolver.in_flight import InFlight, InFlightTransfer
from layercache.streams.inflate import InflatedReader
from layercache.streams.readers import HashedReader, HeadReader
from layercache.transfer.cancellation import reads
from layercache.transfer.follower import Follower
from layercache.transfer.spool import TierSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.plan import Way
    from layercache.resolver.stage import Stage
    from layercache.resolver.tier_writer import TierWriter
    from layercache.streams.limits import Limits
    from layercache.tiers.tier import Tier
    from layercache.transfer.finisher import Finisher

THREADS_FROM = 8 << 20
"""Bytes of a compressed blob from which threads inside a layer are worth their start, on idle cores."""


class Fetcher:
    """Runs the stages of fetches, and lets others join those that are on their way.

    Thread-safe. What threads share is `running`, which has a lock inside, and the number of expected layers,
    which is written under ``_lock`` and read without it: it is a hint. A stage belongs to one transfer.
    """

    def __init__(
        self,
        keeper: TierWriter,
        observers: Observers,
        limits: Limits,
        finisher: Finisher,
        *,
        verify_always: bool = False,
    ) -> None:
        self.running = InFlight()
        self._expected_layers = 0
        self._lock = threading.Lock()
        self.findings = Findings(keeper, observers)
        self.keeper = keeper
        self.observers = observers
        self.limits = limits
        self.finisher = finisher
        self._rehash = verify_always
        self._cores = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )

    @contextmanager
    def expecting(self, layers: int) -> Iterator[Callable[[], None]]:
        """Announce that this many layers will be read in parallel: each then gets one thread, not three.

        Yields a function to call when one of them is done, so that the last ones may use idle cores.
        """
        left = 0

        def expect(more: int) -> None:
            nonlocal left
            with self._lock:
                left += more
                self._expected_layers += more

        expect(layers)
        try:
            yield lambda: expect(-1)
        finally:
            expect(-left)

    def join(self, layer: LayerState, name: Hash, form: Form) -> Reader | None:
        """Read along with a transfer that is on its way, if one is, and learn what it has found out.

        A tar whose making another one's lie could end is not joined: see `_may_fail_by_a_lie`.
        """
        running = self.running.get(name, form)
        if running is None:
            return None
        transfer, stage = running.transfer, running.stage
        if _may_fail_by_a_lie(stage, layer):
            return None

        def learn() -> None:  # in the thread of the follower, before it gets the last bytes
            if stage.outcome is not None:
                self.findings.learn(layer, stage.outcome)
            else:  # a ready tar: nobody has seen the blob
                layer.update(lambda now: now.counted(form, transfer.size))

        follower = transfer.follow(learn)
        if follower is not None:
            reads(follower)
        return follower

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
        from layercache.resolver.stage import FetchStage

        form, identity = way.form, layer.identity
        size = identity.size_of(form)
        place = way.place
        self.observers.emit(Event("fetching", way.name, form, place.where, total=size, place=place))
        # Next to threads that inflate, a second one for the blob costs more than it gains: they take turns.
        threads = 1 if inflating else 2
        store = self.keeper.store(form, nearer_than=None if way.inside else way.tier)
        return self.run(
            FetchStage(
                findings=self.findings,
                layer=layer,
                reader=reader,
                form=form,
                target=store or spooled_for,
                algorithm=way.name.algorithm,
                names=[way.name],
                size=size,
                threads=threads if self.idle(identity.size, identity.digest) else 0,
                from_origin=way.tier is None,
                share=self.finisher.share,
                way=way,
                inflating=inflating,
                kept=store is not None,
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
        """The tar inside a compressed blob, made in one pass; both names of the layer are learned.

        ``tier`` is where the blob was found; ``from_origin``: in no tier, so every tier that keeps tars
        gets this one. Raises `NotALayerError`, `FormatError`; reading raises `DigestMismatchError` where the
        diff ID is another than was claimed.
        """
        from layercache.resolver.stage import TarStage

        head, compression = self._begun(layer, digest, blob, tier)
        identity = layer.identity
        plain = compression == NO_COMPRESSION
        algorithm = identity.diff_id.algorithm if identity.diff_id else digest.algorithm
        target = self._target_of_tar(is_blob=plain and algorithm == digest.algorithm)
        tar = head if plain else self._inflated(layer, digest, blob, head, compression, tier)
        return self.run(
            TarStage(
                findings=self.findings,
                layer=layer,
                reader=tar,
                form=UNCOMPRESSED,
                target=target,
                algorithm=algorithm,
                names=[digest, *([identity.diff_id] if identity.diff_id else [])],
                threads=2 if self.idle(identity.size, digest) else 0,
                source=blob,
                from_origin=from_origin,
                share=self.finisher.share,
                digest=digest,
                compression=compression,
                tier=tier,
            )
        )

    def _target_of_tar(self, *, is_blob: bool) -> Tier | None:
        """The tier that keeps the tar; none where it ``is_blob`` itself, and is kept as that."""
        target = self.keeper.store(UNCOMPRESSED)
        kept = target and (
            target.policy.stores(COMPRESSED) or self.keeper.store(COMPRESSED, nearer_than=target)
        )
        return None if is_blob and kept else target

    def _begun(
        self, layer: LayerState, digest: Digest, blob: Reader, tier: Tier | None
    ) -> tuple[HeadReader, str]:
        """The blob, and how its first bytes say that it is compressed. Closes it where it is not a layer."""
        try:
            head = HeadReader(blob)
            try:
                return head, self.findings.compression(layer, digest, head.head)
            except NotALayerError as error:
                self.findings.doubt(digest, blob, tier, True)  # corrupt bytes may look like anything
                self.findings.refute(layer, digest, error)
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
        doubt = partial(self.findings.doubt, digest, blob, tier)
        tar = InflatedReader(head, compression, self.limits, digest, expected=expected, doubt=doubt)
        total = identity.uncompressed_size
        self.observers.emit(Event("inflating", identity.diff_id or digest, UNCOMPRESSED, "", total=total))
        if identity.asked:
            refute = partial(self.findings.refute, layer, digest)
            return RefutingReader(tar, head, refute, only_tars=not identity.is_proved(digest))
        return tar

    def run(self, stage: Stage) -> Reader:
        """The bytes of a stage, hashed and judged as they pass, and spooled where a tier keeps them."""
        from layercache.transfer.transfer import Transfer

        try:
            spool = self.spool(stage.target, stage.form)
        except BaseException:
            stage.reader.close()
            raise
        reader = stage.observe() if self.observers.observed else stage.reader
        if spool is None:
            return HashedReader(
                stage.counted(reader), stage.verified, algorithm=stage.algorithm, size=stage.size
            )
        transfer = Transfer(
            reader,
            spool,
            stage,
            rehash=self._rehash,
            algorithm=stage.algorithm,
            size=stage.size,
            finisher=self.finisher.queue(),
        )
        stage.begin(transfer, spool.tier, self.running.remove)
        follower = transfer.follow()
        assert follower is not None, "a transfer that has not begun has not ended"
        self.running.add([(name, stage.form) for name in stage.names], InFlightTransfer(transfer, stage))
        source = stage.source if isinstance(stage.source, Follower) else None
        driven = bool(stage.threads) and transfer.start(threads=stage.threads)
        if source is not None:
            # Without threads, readers inflate, and they may pause.
            source.set_pace(holds=driven)
        reads(follower, source)
        return follower

    def spool(self, store: Tier | None, form: Form) -> TierSpool | None:
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
        return max(self._expected_layers, len(others) + 1) < self._cores


def _may_fail_by_a_lie(stage: Stage, layer: LayerState) -> bool:
    """Whether a tar on its way may turn out to be another one than this layer's, by no fault of the layer.

    So it is where its asker states another diff ID, or where only a claim says that a blob other than the
    layer's has this tar inside. A name in another algorithm cannot be checked by the hash of the pass.
    """
    mine, theirs = layer.identity.diff_id, stage.layer.identity
    if stage.form != UNCOMPRESSED or mine is None:
        return False
    if theirs.diff_id not in (None, mine) or stage.algorithm != mine.algorithm:
        return True
    from layercache.resolver.stage import TarStage

    made_of = stage.digest if isinstance(stage, TarStage) else None
    return made_of is not None and not theirs.computed and made_of not in layer.identity.digests()
