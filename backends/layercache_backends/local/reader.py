"""The local backend's readers: an open file, or a range of it."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import not_small, version_of
from layercache.errors import BackendError
from layercache_backends.local.folders import ABSENT, open_plain
from layercache_backends.local.listing import content_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from layercache_backends.local.folders import Store

PIECE = 1 << 20
"""Bytes that are copied at once where the kernel cannot copy."""


class WholeFile(io.FileIO):
    """A complete object, unbuffered and seekable. Keeps its bytes if it is replaced or deleted."""

    def __init__(self, backend: Store, key: str) -> None:
        fd, status = backend.folders.at(key, open_plain)
        super().__init__(fd)
        self._backend = backend
        self._key = key
        self.size = status.st_size
        self.modified = status.st_mtime

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        try:
            count = super().readinto(buffer) or 0
        except OSError as error:
            raise self._backend.failure(f"reading {self._key}", error) from error
        if not count:
            self._check_end()
        return count

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            data: bytes = super().read(size)
        except OSError as error:
            raise self._backend.failure(f"reading {self._key}", error) from error
        if len(data) != self.size and (not data or size is None or size < 0):
            self._check_end()
        return data

    def readall(self) -> bytes:
        """Read the rest; `io.BufferedReader` calls this."""
        return self.read()

    def _check_end(self) -> None:
        """Raise `BackendError` if the size of the file has changed since it was opened."""
        now = os.fstat(self.fileno()).st_size
        if now != self.size:
            raise BackendError(
                f"{self._backend.url}: reading {self._key}: it now has {now} bytes; "
                f"{self.size} when it was opened",
                hint="another program writes to this folder; layercache verify finds corrupt entries",
            )


class FileRange(io.RawIOBase):
    """A range of an object, in order; not seekable. Closes its file."""

    def __init__(self, file: WholeFile, start: int, end: int | None) -> None:
        self._file = file
        stop = file.size if end is None else min(end, file.size)
        self.size = self._left = max(0, stop - start)
        file.seek(min(start, file.size))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as octets, octets[: self._left] as wanted:
            count = self._file.readinto(wanted)
        self._left -= count
        return count

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        return data

    def copy_to(self, target: int, position: int, size: int, /) -> int:
        """As `CopyingReader.copy_to`: the kernel copies, where it can."""
        size = min(size, self._left)
        count = _copied(self._file.fileno(), target, position, size)
        if not count and (data := self._file.read(min(size, PIECE))):
            count = os.pwrite(target, data, position)
            self._file.seek(count - len(data), os.SEEK_CUR)
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _copied(source: int, target: int, position: int, size: int) -> int:
    """How many of the next bytes of a file were copied to a position of another one: none if that fails."""
    if not hasattr(os, "copy_file_range"):
        return 0
    with suppress(OSError):  # some file systems cannot; any other error occurs again in `copy_to`
        return os.copy_file_range(source, target, size, None, position)
    return 0


def read_versioned(backend: Store, key: str) -> tuple[bytes, str]:
    """As `Conditional.read_versioned`."""
    backend.check_object(key)
    try:
        data = backend.folders.at(key, _content)
    except ABSENT:
        raise backend.not_found(key) from None
    except OSError as error:
        raise backend.failure(f"reading {key}", error) from error
    if data is None:
        raise not_small(f"{backend.url}: reading {key}")
    return data, version_of(data)


def _content(name: str, folder: int) -> bytes | None:
    file, _ = open_plain(name, folder)
    try:
        return content_of(file)
    finally:
        os.close(file)
