"""Copies one blob between stores, hashing it, or inflates the tar in it."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import BackendError, DigestMismatchError, LimitError, NotFoundError
from layercache.events import Event
from layercache.oci.descriptor import NO_COMPRESSION, layer_type
from layercache.oci.digest import DiffID, Hash
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver.compressing import recompress_into
from layercache.streams.inflate import InflatedReader
from layercache.streams.limits import Limits
from layercache.streams.readers import (
    HashedReader,
    HeadReader,
    WrappingReader,
    layer_compression,
    sniff,
    verified,
)
from layercache.tiers.association import Association
from layercache.transfer.spool import TierSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.streams.compress import Compression
    from layercache.tiers.tier import Tier


class SourceFailedError(Exception):
    """The source's store failed to return an entry; ``cause`` says why."""

    def __init__(self, cause: BackendError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class WrongBytesError(DigestMismatchError):
    """The hash of a blob is not its name; nothing was published."""

    def __init__(self, name: Hash, found: Hash, size: int) -> None:
        super().__init__(f"the bytes of {name} have the hash {found} ({size} bytes)")
        self.found = found
        self.size = size


class StoppedError(Exception):
    """The copy was stopped while this entry was being copied."""


class BlobCopier:
    """Copies single blobs between two tiers. Thread-safe; `stop` ends the copies in every thread."""

    def __init__(self, source: Tier, target: Tier, emit: Callable[[Event], object]) -> None:
        self._source = source
        self._target = target
        self._emit = emit
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def copy(self, name: Hash, form: Form) -> int:
        """Copy a blob as it is; return its size in bytes.

        Raises `NotFoundError` where the source does not have it, `DigestMismatchError` where it has other
        bytes, `SourceFailedError`; `BackendError` is the target's.
        """
        with source_errors():
            reader = self._source.blobs.inspect(name)
        with reader:
            self._emit(Event("fetching", name, form, self._source.name, total=reader.size))
            again = partial(self._source.blobs.inspect, name)
            size = self._store(name, form, reader, reader.size, again)
        self._emit(Event("stored", name, form, self._target.name, size=size))
        return size

    def recompress(self, name: Hash, compression: Compression) -> Association | None:
        """Copy a plain tar as a blob that has it inside; return the fact about that.

        None where the blob is not a tar, or would count as a decompression bomb: then it is to be copied as
        it is. Raises as `copy` does.
        """
        with source_errors():
            reader = self._source.blobs.inspect(name)
        self._emit(Event("fetching", name, COMPRESSED, self._source.name, total=reader.size))
        source = _SourceReader(reader, self._passed(name, COMPRESSED, reader.size))
        with _head(source) as head, closing(TierSpool(self._target)) as spool:
            if sniff(head.head) != NO_COMPRESSION:
                return None
            try:
                fact = recompress_into(spool, head, name, compression)
            except LimitError:
                return None
            self._check_fits(fact.digest, COMPRESSED, fact.size)
            self._target.blobs.copy(
                fact.digest, self._spooled(spool, fact), again=partial(self._spooled, spool, fact)
            )
        self._emit(Event("stored", fact.digest, COMPRESSED, self._target.name, size=fact.size))
        return fact

    def make_tar(self, fact: Association, *, near: Tier) -> Association:
        """Inflate what ``near`` has of a fact's blob, and store the tar; return the fact as computed.

        Where the blob inflates to another tar than the fact says, nothing is stored, and the returned fact
        has the diff ID that was found. Raises as `copy` does, `NotALayerError`, and `FormatError` or
        `LimitError` for a broken blob.
        """
        digest, diff_id = fact.digest, fact.diff_id
        with source_errors():
            reader = near.blobs.open(digest)
        size = reader.size or 0
        with _head(verified(reader, digest, size)) as head:
            compression = layer_compression(head.head, digest)
            plain = compression == NO_COMPRESSION
            tar: Reader = head if plain else InflatedReader(head, compression, Limits(), digest)
            self._emit(Event("inflating", diff_id, UNCOMPRESSED, near.name, total=fact.uncompressed_size))
            media_type = layer_type(fact.media_type, compression)
            try:
                tar_size = self._store(diff_id, UNCOMPRESSED, tar, None)
            except WrongBytesError as error:
                found = DiffID(error.found)
                return Association(digest, found, size, media_type, error.size, computed=True)
        self._emit(Event("stored", diff_id, UNCOMPRESSED, self._target.name, size=tar_size))
        return Association(digest, diff_id, size, media_type, tar_size, computed=True)

    def _store(
        self,
        name: Hash,
        form: Form,
        reader: Reader,
        total: int | None,
        again: Callable[[], Reader] | None = None,
    ) -> int:
        """Publish what a reader gives if it has the right hash; return how many bytes it had.

        ``again``: as for `BlobStore.copy`, without verification.
        """
        if total is not None:
            self._check_fits(name, form, total)
        size = 0

        def check(found: Hash, count: int) -> None:
            nonlocal size
            size = count
            if found != name:
                raise WrongBytesError(name, found, count)

        def checked(reader: Reader, passed: Callable[[int], object]) -> Reader:
            source = _SourceReader(reader, passed)
            return HashedReader(source, check, algorithm=name.algorithm, size=reader.size)

        def reopened() -> Reader:
            assert again is not None
            with source_errors():
                return checked(again(), self._check_stopped)

        first = checked(reader, self._passed(name, form, total))
        self._target.blobs.copy(name, first, again=again and reopened)
        return size

    @staticmethod
    def _spooled(spool: TierSpool, fact: Association) -> Reader:
        return verified(spool.reader(), fact.digest, fact.size)

    def _check_fits(self, name: Hash, form: Form, size: int) -> None:
        if not self._target.blobs.fits(size):
            note = f"its {size} bytes are more than the tier may hold in all"
            self._emit(Event("failed", name, form, self._target.name, note=note))
            raise NotFoundError(note)

    def _passed(self, name: Hash, form: Form, total: int | None) -> Callable[[int], object]:
        """What to call with the size of each part that the source returned."""

        def passed(count: int) -> None:
            self._check_stopped(count)
            self._emit(Event("bytes", name, form, self._source.name, size=count, total=total))

        return passed

    def _check_stopped(self, _: int) -> None:
        if self._stopped.is_set():
            raise StoppedError


class _SourceReader(WrappingReader):
    """Bytes of the source. Failures become `SourceFailedError`; ``passed`` gets the size of each part."""

    def __init__(self, reader: Reader, passed: Callable[[int], object]) -> None:
        super().__init__(reader, reader.size)
        self._passed = passed

    def read(self, size: int = -1, /) -> bytes:
        with source_errors():
            chunk = self._raw.read(size)
        if chunk:
            self._passed(len(chunk))
        return chunk


@contextmanager
def source_errors() -> Iterator[None]:
    """Turn a `BackendError` inside the block into `SourceFailedError`: the source's store failed."""
    try:
        yield
    except NotFoundError:
        raise
    except BackendError as error:
        raise SourceFailedError(error) from error


def _head(reader: Reader) -> HeadReader:
    try:
        with source_errors():
            return HeadReader(reader)
    except BaseException:
        reader.close()
        raise
