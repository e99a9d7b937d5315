"""One blob from store to store, hashed as it passes; or the tar inside it."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layercache.errors import BackendError, DigestMismatchError, NotALayerError, NotFoundError
from layercache.events import Event
from layercache.oci.descriptor import NO_COMPRESSION, layer_type
from layercache.oci.digest import DiffID, Hash
from layercache.oci.forms import UNCOMPRESSED, Form
from layercache.streams.inflate import InflatedReader, Limits
from layercache.streams.readers import HeadReader, sniff_layer, verified
from layercache.tiers.association import Association

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader
    from layercache.oci.digest import Digest
    from layercache.tiers.tier import Tier


class SourceFailedError(Exception):
    """The source's store did not give an entry; why is in ``cause``. The target is not to blame."""

    def __init__(self, cause: BackendError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class OtherBytesError(DigestMismatchError):
    """A blob has another hash than its name says; it is not published."""

    def __init__(self, name: Hash, found: Hash, size: int) -> None:
        super().__init__(f"the bytes of {name} have the hash {found} ({size} bytes)")
        self.found = found
        self.size = size


class RefutedError(DigestMismatchError):
    """A blob was inflated, and has another tar inside than a fact says; what is true is ``truth``."""

    def __init__(self, claimed: DiffID, truth: Association) -> None:
        super().__init__(
            f"{truth.digest} was said to inflate to {claimed}, but inflates to {truth.diff_id}",
            hint="the blob itself is sound; only its tar was not kept",
        )
        self.truth = truth


class StoppedError(Exception):
    """The copy was given up while this entry was on its way."""


class BlobCopier:
    """Carries single blobs between two tiers, in as many threads as like to. ``stop()`` ends all of them."""

    def __init__(self, source: Tier, target: Tier, emit: Callable[[Event], object]) -> None:
        self._source = source
        self._target = target
        self._emit = emit
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def copy(self, name: Hash, form: Form) -> int:
        """The blob as it is; its size in bytes.

        Raises `NotFoundError` where the source has it not, `DigestMismatchError` where it has other bytes,
        `SourceFailedError`; `BackendError` is the target's.
        """
        with of_source():
            reader = self._source.blobs.open(name)
        with reader:
            self._emit(Event("fetching", name, form, self._source.name, total=reader.size))
            size = self._store(name, form, reader, reader.size)
        self._emit(Event("stored", name, form, self._target.name, size=size))
        return size

    def make_tar(self, fact: Association, *, near: Tier) -> Association:
        """The tar that a fact tells of, made of what ``near`` has of the blob; and the fact, now computed.

        Raises as `copy` does, `RefutedError` where the fact is false, `NotALayerError`, and `FormatError` or
        `LimitError` for a broken blob.
        """
        digest, diff_id = fact.digest, fact.diff_id
        with of_source():
            reader = near.blobs.open(digest)
        size = reader.size or 0
        with _head(verified(reader, digest, size)) as head:
            compression = _compression(head.head, digest)
            plain = compression == NO_COMPRESSION
            tar: Reader = head if plain else InflatedReader(head, compression, Limits(), digest)
            self._emit(Event("inflating", diff_id, UNCOMPRESSED, near.name, total=fact.uncompressed_size))
            media_type = layer_type(fact.media_type, compression)
            try:
                tar_size = self._store(diff_id, UNCOMPRESSED, tar, None)
            except OtherBytesError as error:
                found = DiffID(error.found)
                truth = Association(digest, found, size, media_type, error.size, computed=True)
                raise RefutedError(diff_id, truth) from error
        self._emit(Event("stored", diff_id, UNCOMPRESSED, self._target.name, size=tar_size))
        return Association(digest, diff_id, size, media_type, tar_size, computed=True)

    def _store(self, name: Hash, form: Form, reader: Reader, total: int | None) -> int:
        """Publish what a reader gives, if it has the hash; how many bytes that are."""
        if total is not None and not self._target.blobs.fits(total):
            note = f"its {total} bytes are more than the tier may hold in all"
            self._emit(Event("failed", name, form, self._target.name, note=note))
            raise NotFoundError(note)

        def passed(count: int) -> None:
            if self._stopped.is_set():
                raise StoppedError
            self._emit(Event("bytes", name, form, self._source.name, size=count, total=total))

        passing = _Passing(reader, name, passed)
        self._target.blobs.copy(name, passing)
        return passing.seen


class _Passing(io.RawIOBase):
    """The source's bytes on their way: hashed, and judged before their end is told."""

    def __init__(self, reader: Reader, name: Hash, passed: Callable[[int], object]) -> None:
        self.size = reader.size
        self.seen = 0
        self._reader = reader
        self._name = name
        self._hasher = name.hasher()
        self._passed = passed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        with of_source():
            count = self._reader.readinto(view)
        if count:
            self._hasher.update(view[:count])
            self.seen += count
            self._passed(count)
        elif view and (found := Hash.from_hasher(self._hasher)) != self._name:
            raise OtherBytesError(self._name, found, self.seen)
        return count


@contextmanager
def of_source() -> Iterator[None]:
    try:
        yield
    except NotFoundError:
        raise
    except BackendError as error:
        raise SourceFailedError(error) from error


def _head(reader: Reader) -> HeadReader:
    try:
        with of_source():
            return HeadReader(reader)
    except BaseException:
        reader.close()
        raise


def _compression(head: bytes, digest: Digest) -> str:
    """What the first bytes say."""
    compression = sniff_layer(head)
    if compression is None:
        raise NotALayerError(f"{digest} is no layer: neither gzip, nor zstd, nor tar")
    return compression
