"""Reading and writing through fsspec: ranges in memory, bytes to write in a local temporary file."""

from __future__ import annotations

import io
import os
import tempfile
from typing import IO, TYPE_CHECKING, Any, Protocol

from layercache.backend import SinkBase, check_usable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


RANGE = 8 << 20
"""Bytes of one request."""


class Store(Protocol):
    """The part of the backend that its readers and sinks use."""

    url: str

    def piece(self, key: str, info: dict[str, Any], start: int, end: int) -> bytes: ...

    def publish(self, key: str, local: IO[bytes]) -> None: ...


class FsspecReader(io.RawIOBase):
    """An object's bytes, or a range's, 8 MiB in memory at a time; not seekable."""

    def __init__(self, backend: Store, key: str, info: dict[str, Any], start: int, end: int | None) -> None:
        self._backend = backend
        self._key = key
        self._info = info
        self._end = info["size"] if end is None else min(end, info["size"])
        self._next = min(start, self._end)
        self.size = self._end - self._next
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(buffer) as view, view.cast("B") as octets:
            if not self._piece and len(octets) and self._next < self._end:
                end = min(self._next + RANGE, self._end)
                self._piece = memoryview(self._backend.piece(self._key, self._info, self._next, end))
                self._next = end
            count = min(len(octets), len(self._piece))
            octets[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        self._piece = memoryview(b"")
        super().close()


class FsspecSink(SinkBase):
    """Collects bytes in a local temporary file until they are complete."""

    def __init__(self, backend: Store, key: str) -> None:
        self._backend = backend
        self._key = key
        self._owner = os.getpid()
        # Unbuffered: a forked child that closes it has nothing to flush into its parent's file.
        self._file: Any = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by abort

    def write(self, data: ReadableBuffer, /) -> None:
        self._check()
        with memoryview(data) as view, view.cast("B") as octets:
            done = 0
            while done < len(octets):
                done += self._file.write(octets[done:])

    def commit(self) -> None:
        self._check()
        try:
            self._backend.publish(self._key, self._file)
        finally:
            self.abort()

    def abort(self) -> None:
        if self._owner == os.getpid() and not self._file.closed:
            self._file.close()

    def __del__(self) -> None:
        self.abort()

    def _check(self) -> None:
        check_usable(f"{self._backend.url}: writing {self._key}", self._owner, ended=self._file.closed)
