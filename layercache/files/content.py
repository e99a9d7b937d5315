"""The bytes of one regular file, out of its layer's tar."""

from __future__ import annotations

import io
from bisect import bisect_right
from hashlib import sha256
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from layercache.backend import Reader
    from layercache.files.layer_tar import LayerTar
    from layercache.index.entry import FileEntry

BUFFER = 128 << 10
"""Bytes of a file's buffer: what a small read out of the middle costs."""

SKIP = 256 << 10
"""A step forward of at most so many bytes is read, and does not open the tar again."""


class FileContent(io.RawIOBase):
    """A regular file's bytes: seekable, holes as zeros.

    The tar is opened at the first read, and again where a seek leaves what is open. Reading all bytes
    in order, from the first one on, returns the last of them only if the file's sha256 is right.
    """

    def __init__(self, tar: LayerTar, entry: FileEntry) -> None:
        self._tar = tar
        self._entry = entry
        pieces = ((0, entry.size),) if entry.sparse is None else entry.sparse
        self._pieces = [(start, length) for start, length in pieces if length]
        self._starts = [start for start, _ in self._pieces]
        self._stored = [entry.offset]  # where each piece begins in the tar, and where the last one ends
        for _, length in self._pieces:
            self._stored.append(self._stored[-1] + length)
        self._position = 0
        self._reader: Reader | None = None
        self._reader_at = 0
        self._hasher = sha256()
        self._hashed = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check_open()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._entry.size}.get(whence)
        if base is None:
            raise ValueError(f"invalid whence: {whence}")
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._entry.size - self._position)
        if wanted <= 0:
            return 0
        count = self._fill(view[:wanted])
        self._check(view[:count])
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._close_reader()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _fill(self, view: memoryview) -> int:
        """Fill the beginning of the view from the current position on; how many bytes, at least one."""
        number = bisect_right(self._starts, self._position) - 1
        if number >= 0:
            start, length = self._pieces[number]
            inside = self._position - start
            if inside < length:
                return self._read_tar(self._stored[number] + inside, view[: length - inside])
        following = number + 1
        end = self._starts[following] if following < len(self._starts) else self._entry.size
        count = min(len(view), end - self._position)
        view[:count] = bytes(count)
        return count

    def _read_tar(self, at: int, view: memoryview) -> int:
        if self._reader is not None and 0 < at - self._reader_at <= SKIP:
            self._reader_at += len(self._reader.read(at - self._reader_at))
        if self._reader is None or at != self._reader_at:
            self._close_reader()
            self._reader = self._tar.read(at, self._stored[-1])
            self._reader_at = at
        count = self._reader.readinto(view)
        if not count:
            raise FormatError(
                f"{self._entry.path}: the tar of {self._tar.name} ends at byte {at}, inside the file",
                hint="the table of the layer's files does not belong to this tar",
            )
        self._reader_at += count
        return count

    def _check(self, data: memoryview) -> None:
        """Hash what follows on what was hashed, and compare at the end."""
        if self._position != self._hashed or not self._entry.sha256:
            return
        self._hasher.update(data)
        self._hashed += len(data)
        if self._hashed == self._entry.size and (found := self._hasher.hexdigest()) != self._entry.sha256:
            raise DigestMismatchError(
                f"{self._entry.path} in {self._tar.name} has the sha256 {found}"
                f" instead of {self._entry.sha256}",
                hint="layercache verify finds what is corrupt",
            )

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def open_file(tar: LayerTar, entry: FileEntry) -> io.BufferedReader:
    """A regular file's bytes as a buffered, seekable stream."""
    return io.BufferedReader(FileContent(tar, entry), BUFFER)
