"""Detects the compression of a local archive, and inflates it into an unnamed temporary file."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from layercache.errors import LimitError, SourceError
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.sources.tar_index import Member
from layercache.streams.inflate import BZIP2, XZ, InflatedReader
from layercache.streams.limits import MAX_INFLATED_SIZE, Limits
from layercache.streams.readers import CHUNK, sniff_layer

if TYPE_CHECKING:
    from layercache.backend import Reader

# The .xz File Format 1.2.1, 2.1.1.1; bzip2 has no specification: its magic, a level, and a block or the end.
_XZ_MAGIC = b"\xfd7zXZ\x00"
_BZIP2_MAGIC = b"BZh"
_BZIP2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")


def sniff_archive(head: bytes) -> str | None:
    """As `sniff_layer`, plus xz and bzip2, which ``docker load`` reads too but registries do not have."""
    if head.startswith(_XZ_MAGIC):
        return XZ
    if head.startswith(_BZIP2_MAGIC) and head[3:4] in b"123456789" and head[4:10] in _BZIP2_BLOCKS:
        return BZIP2
    return sniff_layer(head)


class InflatedFile:
    """A temporary file to which streams are inflated. It is created by the first of them."""

    def __init__(self) -> None:
        self.fd: int | None = None
        self._size = 0

    def append(self, raw: Reader, compression: str, what: str) -> tuple[int, Member]:
        """Inflate a stream, or copy a plain one; return the file and the stream's place in it.

        All of them together are bounded as one layer is. Raises `FormatError`, `LimitError`; `SourceError`
        where there is no room.
        """
        fd, start = self._opened(), self._size
        limits = Limits(MAX_INFLATED_SIZE - start)
        plain = compression == NO_COMPRESSION
        with raw if plain else InflatedReader(raw, compression, limits, what) as inflated:
            while chunk := inflated.read(CHUNK):
                self._write(fd, chunk)
                if self._size > MAX_INFLATED_SIZE:
                    raise LimitError(f"{what} has more than {MAX_INFLATED_SIZE} bytes")
        return fd, Member(start, self._size - start)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _opened(self) -> int:
        if self.fd is None:
            try:
                with tempfile.TemporaryFile(buffering=0) as file:
                    self.fd = os.dup(file.fileno())
            except OSError as error:
                raise _failure(error) from error
        return self.fd

    def _write(self, fd: int, chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:
            try:
                written = os.pwrite(fd, left, self._size)
            except OSError as error:
                raise _failure(error) from error
            self._size += written
            left = left[written:]


def _failure(error: OSError) -> SourceError:
    return SourceError(
        f"an archive cannot be inflated into the folder for temporary files: {error.strerror}",
        hint="$TMPDIR names another one",
    )
