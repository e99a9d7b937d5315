"""Taking in a blob that nobody has named yet: its names are computed while it is kept."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import NotALayerError, wrong_type
from layercache.events import Event, Observers
from layercache.oci.descriptor import NO_COMPRESSION, OCI_LAYER_OF
from layercache.oci.digest import DiffID, Digest
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.identity import LayerIdentity, Outcome
from layercache.resolver.layer_state import LayerState
from layercache.resolver.stage import Stage
from layercache.streams.borrowed import BorrowedReader
from layercache.streams.inflate import InflatedReader
from layercache.streams.readers import HeadReader, sniff, sniff_layer
from layercache.transfer.follower import read_through

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.resolver.fetch import Fetcher
    from layercache.resolver.tier_writer import TierWriter
    from layercache.transfer.spool import TierSpool


class Ingest:
    """One blob on its way in: hashed, inflated, hashed again, and kept where the tiers' policies say.

    Nothing is published before the whole was found sound: a cut gzip leaves no entry. A blob that is
    neither gzip, zstd nor tar is refused; with ``any_data`` it is kept as it is, and has no diff ID.
    """

    def __init__(
        self, fetcher: Fetcher, keeper: TierWriter, observers: Observers, *, any_data: bool = False
    ) -> None:
        self._any_data = any_data
        self._fetcher = fetcher
        self._keeper = keeper
        self._observers = observers
        self._layer = LayerState(LayerIdentity())
        self._form: Form = COMPRESSED
        self._blob: _BlobStage | None = None
        self._kept = False

    def take_from(self, source: str | os.PathLike[str] | BinaryIO) -> LayerIdentity:
        """As `take`, from a path or a stream, which is not closed. Raises `OSError`, too."""
        if isinstance(source, str | os.PathLike):
            with open(source, "rb", buffering=0) as file:
                return self.take(BorrowedReader(file), os.fstat(file.fileno()).st_size)
        if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
            raise wrong_type("a path, or a binary stream", source)
        return self.take(BorrowedReader(source), None)

    def take(self, raw: Reader, size: int | None) -> LayerIdentity:
        """Read the blob to its end. ``size`` in bytes is a hint.

        Raises `NotALayerError`, `FormatError`, `LimitError`, `BackendError`, and `ConfigError` where no tier
        would keep it.
        """
        with raw:
            head = HeadReader(raw)
            compression = sniff(head.head)
            if compression is None:
                self._require_layer("neither gzip, zstd nor tar")
            if compression in (None, NO_COMPRESSION):
                self._take_as_it_is(head, compression)
            else:
                self._take_inflating(head, compression or "", threads=self._fetcher.idle(size, None))
        return self._layer.identity

    def _require_layer(self, found: str) -> None:
        if not self._any_data:
            raise NotALayerError(
                f"not a layer: {found}", hint="--any (in Python any_data=True) stores it anyway"
            )

    def _take_as_it_is(self, head: HeadReader, compression: str | None) -> None:
        if compression and self._keeper.store(COMPRESSED) is None:
            self._form = UNCOMPRESSED  # a plain tar is both forms: any tier that keeps layers keeps it
        if self._keeper.store(self._form) is None:
            raise self._keeper.kept_nowhere()
        with self._receive_blob(head) as blob:
            read_through(blob)
            identity = self._layer.identity
            if compression and identity.digest and identity.size is not None:
                self.learn(DiffID(identity.digest), identity.size, compression)
            self.keep()

    def _take_inflating(self, head: HeadReader, compression: str, *, threads: bool) -> None:
        store = self._keeper.store(UNCOMPRESSED)
        if store is None and self._keeper.store(COMPRESSED) is None:
            raise self._keeper.kept_nowhere()
        blob = self._receive_blob(head, threads=1 if threads else 0)
        try:
            inflated = InflatedReader(blob, compression, self._fetcher.limits, "the blob")
            tar = HeadReader(inflated)
            if sniff_layer(tar.head) is None:
                self._require_layer(f"{compression} of something that is not a tar")
        except BaseException:
            blob.close()
            raise
        stage = _TarStage(
            findings=self._fetcher.findings,
            layer=self._layer,
            reader=tar,
            form=UNCOMPRESSED,
            target=store,
            algorithm="sha256",
            threads=2 if threads else 0,
            source=blob,
            ingest=self,
            compression=compression,
            inflated=inflated,
        )
        with self._fetcher.run(stage) as reader:
            read_through(reader)
            if not self._kept:  # there was no spool, or none that held
                self.keep()

    def _receive_blob(self, head: HeadReader, *, threads: int = 0) -> Reader:
        self._blob = _BlobStage(
            findings=self._fetcher.findings,
            layer=self._layer,
            reader=head,
            form=self._form,
            target=self._keeper.store(self._form),
            algorithm="sha256",
            threads=threads,
        )
        return self._fetcher.run(self._blob)

    def learn(self, diff_id: DiffID, size: int, compression: str, seconds: float = 0.0) -> None:
        """The tar inside was hashed and counted; inflating it took ``seconds``."""
        identity = self._layer.identity
        assert identity.digest is not None, "the blob is hashed before the tar inside it is"
        outcome = Outcome(identity.digest, identity.size, diff_id, size, OCI_LAYER_OF[compression])
        self._layer.update(lambda now: now.confirmed_by(outcome))
        if compression != NO_COMPRESSION:
            event = Event("inflated", diff_id, UNCOMPRESSED, "", size=size, seconds=seconds)
            self._observers.emit(event)

    def keep(self, tar: TierSpool | None = None) -> None:
        """Publish blob, then tar, then fact. Raises `BackendError` where no tier could take either."""
        identity = self._layer.identity
        keep = partial(self._keeper.keep, everywhere=True, layer=identity.digest, plain=identity.plain)
        kept, blob = [], self._blob.spool if self._blob else None
        if identity.fact:
            self._keeper.expect(identity.fact)
        if blob and identity.digest:
            kept += keep(blob, identity.digest, self._form)
        if tar and identity.diff_id:
            kept += keep(tar, identity.diff_id, UNCOMPRESSED)
        self._kept = True
        if not kept:
            raise self._keeper.kept_nowhere(size=identity.size)
        if identity.fact:
            self._keeper.record(identity.fact, kept)


@dataclass(eq=False, kw_only=True)
class _BlobStage(Stage):
    """The blob: it is published only together with its tar."""

    spool: TierSpool | None = None

    def check(self, found: Hash, size: int) -> None:
        self.layer.update(lambda _: LayerIdentity(digest=Digest(found), size=size))

    def stored(self, spool: TierSpool, found: Hash) -> None:  # noqa: ARG002  # it is named by `keep`
        self.spool = spool


@dataclass(eq=False, kw_only=True)
class _TarStage(Stage):
    """The tar inside the blob. Once it is verified both are published."""

    ingest: Ingest
    compression: str
    inflated: InflatedReader

    def check(self, found: Hash, size: int) -> None:
        self.ingest.learn(DiffID(found), size, self.compression, self.inflated.seconds)

    def stored(self, spool: TierSpool, found: Hash) -> None:  # noqa: ARG002  # as above
        self.ingest.keep(spool)
