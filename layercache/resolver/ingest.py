"""Taking in a blob that nobody has named yet: its names are computed while it is kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.events import Event, Observers
from layercache.oci.descriptor import NO_COMPRESSION, OCI_LAYER_OF
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver.identity import LayerIdentity
from layercache.streams.inflate import InflatedReader
from layercache.streams.readers import HeadReader, sniff
from layercache.tiers.association import Association
from layercache.transfer.follower import read_through

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.resolver.fetch import Fetcher
    from layercache.resolver.tier_writer import TierWriter
    from layercache.transfer.spool import TierSpool


class Ingest:
    """One blob on its way in: hashed, inflated, hashed again, and kept where the tiers' policies say.

    Nothing is published before the whole was found sound: a cut gzip leaves no entry. A blob that is
    neither gzip, zstd nor tar is kept as it is, and has no diff ID.
    """

    def __init__(self, passes: Fetcher, keeper: TierWriter, observers: Observers) -> None:
        self._passes = passes
        self._keeper = keeper
        self._observers = observers
        self._known = LayerIdentity()
        self._form: Form = COMPRESSED
        self._blob: TierSpool | None = None
        self._kept = False

    def take(self, raw: Reader, size: int | None) -> LayerIdentity:
        """Read the blob to its end. ``size`` in bytes is a hint.

        Raises `FormatError`, `LimitError`, `BackendError`, and `ConfigError` where no tier would keep it.
        """
        with raw:
            head = HeadReader(raw)
            compression = sniff(head.head)
            if compression in (None, NO_COMPRESSION):
                self._take_as_it_is(head, compression)
            else:
                self._take_inflating(head, compression or "", threads=self._passes.idle(size, None))
        return self._known

    def _take_as_it_is(self, head: HeadReader, compression: str | None) -> None:
        if compression and self._keeper.store(COMPRESSED) is None:
            self._form = UNCOMPRESSED  # a plain tar is both forms: any tier that keeps layers keeps it
        if self._keeper.store(self._form) is None:
            raise self._keeper.kept_nowhere()
        with self._receive_blob(head) as blob:
            read_through(blob)
            if compression and self._known.digest and self._known.size is not None:
                self._learn(DiffID(self._known.digest), self._known.size, compression)
            self._keep()

    def _take_inflating(self, head: HeadReader, compression: str, *, threads: bool) -> None:
        store = self._keeper.store(UNCOMPRESSED)
        if store is None and self._keeper.store(COMPRESSED) is None:
            raise self._keeper.kept_nowhere()

        def finish(found: Hash, seen: int) -> None:
            self._learn(DiffID(found), seen, compression)
            self._observers.emit(Event("inflated", found, UNCOMPRESSED, "", size=seen))

        blob = self._receive_blob(head, threads=threads, inflating=True)
        inside = InflatedReader(blob, compression, self._passes.limits, "the blob")
        with self._passes.receive(
            inside,
            UNCOMPRESSED,
            store,
            finish,
            lambda spool, _: self._keep(spool),
            self._known,
            threads=threads,
            source=blob,
        ) as tar:
            read_through(tar)
            if not self._kept:  # there was no spool, or none that held
                self._keep()

    def _receive_blob(self, head: HeadReader, *, threads: bool = False, inflating: bool = False) -> Reader:
        def finish(found: Hash, seen: int) -> None:
            self._known.digest, self._known.size = Digest(found), seen

        def hold(spool: TierSpool, _: Hash) -> None:
            self._blob = spool

        store = self._keeper.store(self._form)
        return self._passes.receive(
            head, self._form, store, finish, hold, self._known, threads=threads, inflating=inflating
        )

    def _learn(self, diff_id: DiffID, size: int, compression: str) -> None:
        known = self._known
        assert known.digest is not None, "the blob is hashed before the tar inside it is"
        assert known.size is not None, "and counted"
        media_type = OCI_LAYER_OF[compression]
        known.learn(Association(known.digest, diff_id, known.size, media_type, size, computed=True))

    def _keep(self, tar: TierSpool | None = None) -> None:
        """Publish blob, then tar, then fact. Raises `BackendError` where no tier could take either."""
        known, keep = self._known, partial(self._keeper.keep, everywhere=True, layer=self._known.digest)
        kept = []
        if self._blob and known.digest:
            kept += keep(self._blob, known.digest, self._form, known.size or 0)
        if tar and known.diff_id:
            kept += keep(tar, known.diff_id, UNCOMPRESSED, known.uncompressed_size or 0)
        self._kept = True
        if not kept:
            raise self._keeper.kept_nowhere()
        if known.fact:
            self._keeper.record(known.fact, kept)
