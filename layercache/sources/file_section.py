"""Reads a section of a local file: a blob of a layout, or a member of an archive."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError, SourceError
from layercache.oci.documents import check_limit

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class PartReader(io.RawIOBase):
    """Bytes ``start`` to ``end`` of a file; seekable within them. It owns the descriptor ``fd``.

    Reads with pread(2), so that descriptors which are duplicates of each other do not move each other.
    """

    def __init__(self, fd: int, start: int, end: int, what: str = "the file") -> None:
        self._fd = fd
        self._what = what
        self._start = start
        self._offset = 0
        self.size: int = end - start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"no offset {base + offset}")
        self._offset = base + offset
        return self._offset

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_open()
        left = max(self.size - self._offset, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        parts = []
        try:
            while wanted and (part := os.pread(self._fd, wanted, self._start + self._offset)):
                parts.append(part)
                self._offset += len(part)
                wanted -= len(part)
        except OSError as error:
            raise self._failure(error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")[: max(self.size - self._offset, 0)]
        try:
            count = os.preadv(self._fd, [view], self._start + self._offset) if view else 0
        except OSError as error:
            raise self._failure(error) from error
        self._offset += count
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)

    def _failure(self, error: OSError) -> SourceError:
        return SourceError(f"reading {self._what}: {error.strerror}")

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("read of a closed file")


def open_file(path: str, what: str) -> tuple[int, int]:
    """A plain file's descriptor, for the caller to close, and its size in bytes.

    Raises `NotFoundError` where nothing is there, `SourceError` for what cannot be read or is not a regular
    file.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would block.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} is not there", looked_in=[path]) from error
    except OSError as error:
        raise SourceError(f"{what}: cannot read {path}: {error.strerror}") from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise SourceError(f"{what}: {path} is not a regular file")
    return fd, status.st_size


def read_file(path: str, limit: int, what: str) -> bytes:
    """A small file, whole. Raises `FormatError` for one of more than ``limit`` bytes."""
    fd, size = open_file(path, what)
    with PartReader(fd, 0, size, what) as reader:
        check_limit(what, size, limit)
        return reader.read()
