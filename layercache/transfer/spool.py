"""Where bytes stand that are on their way into a tier: in its own spool, else in a temporary file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from layercache.errors import BackendError
from layercache.streams.readers import CHUNK

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache.backend.capabilities import Spool
    from layercache.oci.digest import Hash
    from layercache.streams.temporary_file import TemporaryFile
    from layercache.tiers.tier import Tier


class ShortSpoolError(BackendError):
    """Bytes that were written are not there any more: another program has cut the file."""


class TierSpool:
    """Bytes on their way into a tier: one writes them, many read them while they grow.

    Where the tier's own spool fails they go on in a temporary file: a full disk stops no reader. Then the
    tier is skipped, and `publish` raises why.
    """

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self._own = tier.blobs.spool()
        self._spool: Spool | TemporaryFile = self._own or _temporary_file()
        self._failure: BackendError | None = None
        self._may_be_public = False
        self.size = 0

    def write(self, data: ReadableBuffer, /) -> None:
        try:
            self._spool.write(data)
        except BackendError as error:
            if self._spool is not self._own:
                raise
            self.tier.mark_failed(error, writing=True)
            self._go_on_elsewhere(self._own, error)
            self._spool.write(data)
        self.size += memoryview(data).nbytes

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        """As `Spool.readinto_at`. Raises `ShortSpoolError` where bytes are gone that were written."""
        count = self._spool.readinto_at(offset, buffer)
        if not count and offset < self.size and memoryview(buffer).nbytes:
            raise ShortSpoolError(f"{self.tier.name}: what was written ends at byte {offset} of {self.size}")
        return count

    def splice_to(self, pipe: int, offset: int, size: int, /) -> int:
        """As `Spliced.splice_to`; 0 also where the bytes are in no spool that can."""
        # As isinstance(…, Spliced), which costs microseconds.
        splice = getattr(self._spool, "splice_to", None)
        return splice(pipe, offset, size) if splice else 0

    @property
    def was_changed(self) -> bool:
        """Whether another program may have changed what was published."""
        # As isinstance(…, Stamped), which costs microseconds.
        was_changed = getattr(self._own, "was_changed", None) if self._may_be_public else None
        return was_changed is not None and bool(was_changed())

    def publish(self, name: Hash) -> None:
        """Make a blob of them. They can still be read. Raises `BackendError`."""
        if self._failure is not None:
            raise self._failure
        if self._own is not None:
            self._may_be_public = True  # before it is: others may read and change it before this returns
            self.tier.blobs.publish(name, self._own, self.size)
        else:
            self.tier.blobs.copy(name, self.reader(), again=self.reader)

    def reader(self) -> SpoolReader:
        """Read what was written, from its start."""
        return SpoolReader(self)

    def close(self) -> None:
        self._spool.close()
        if self._own is not None:
            self._own.close()

    def _go_on_elsewhere(self, own: Spool, error: BackendError) -> None:
        """What was written so far moves along. The old place stays: readers may still be in it."""
        new, buffer, done = _temporary_file(), memoryview(bytearray(CHUNK)), 0
        try:
            while done < self.size:
                count = own.readinto_at(done, buffer[: self.size - done])
                if not count:
                    raise error
                new.write(buffer[:count])
                done += count
        except BaseException:
            new.close()
            raise
        self._failure, self._spool = error, new


class SpoolReader(io.RawIOBase):
    """What a spool holds, from its start. Closing it leaves the spool open."""

    def __init__(self, spool: TierSpool) -> None:
        self._spool = spool
        self._offset = 0
        self.size = spool.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._spool.readinto_at(self._offset, buffer)
        self._offset += count
        return count


def _temporary_file() -> TemporaryFile:
    from layercache.streams.temporary_file import TemporaryFile  # rare: most tiers have spools of their own

    return TemporaryFile()
