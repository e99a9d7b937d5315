"""Reads pieces of a tar from its beginning to its end, in one pass."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from layercache.backend.capabilities import CopyingReader
from layercache.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from layercache.backend import Reader

CHUNK = 256 << 10
"""Bytes that are read at once. The kernel copies so many, or more, which takes longer for few."""

STEP = 8 << 20
"""Bytes that it copies at once."""


class TarCursor:
    """A place in an opened tar that only goes forward.

    Bytes from ``_base`` to ``_read`` of the tar are in the buffer. Those before ``_at`` are not given again.
    """

    def __init__(self, reader: Reader, start: int, name: str) -> None:
        """``reader``: of the tar called ``name``, from byte ``start`` on; it is closed with the cursor."""
        self._reader = reader
        self._copying = reader if isinstance(reader, CopyingReader) else None
        self.is_verified = self._copying is not None
        """Whether the bytes come out of a file as it stands in a trusted tier, which no reader hashes."""
        self._name = name
        self._buffer = memoryview(bytearray(CHUNK))
        self._base = self._at = self._read = start

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def take(self, at: int, length: int) -> memoryview:
        """The bytes from ``at`` on in one piece, `CHUNK` at most. It is valid until more is asked for.

        Raises `FormatError` where the tar ends before, or for a place behind the cursor.
        """
        if at < self._at:
            raise FormatError(f"files overlap at byte {at} of the tar {self._name}")
        if at + length > self._read:
            self._fill(at, length)
        self._at = at + length
        start = at - self._base
        return self._buffer[start : start + length]

    def pieces(self, at: int, length: int) -> Iterator[memoryview]:
        """The bytes from ``at`` on, so many, in parts: see `take`."""
        while length:
            part = self._part(at, length)
            at, length = at + len(part), length - len(part)
            yield part

    def copy(self, at: int, length: int, file: int, position: int) -> Iterator[int]:
        """Write the bytes from ``at`` on to a position of an open file; yield how many in each step.

        Many are copied by the kernel, where it can. Raises as `take` does, and `OSError`.
        """
        while length:
            if self._copying and self._read == at and length >= CHUNK:
                count = self._copying.copy_to(file, position, min(length, STEP))
                if not count:
                    raise self._ended()
                self._base = self._at = self._read = at + count
            else:
                part = self._part(at, length)
                count = len(part)
                write_all(file, part, position)
            at, position, length = at + count, position + count, length - count
            yield count

    def _part(self, at: int, length: int) -> memoryview:
        held = self._read - at
        return self.take(at, min(length, held if held > 0 else CHUNK))

    def _fill(self, at: int, length: int) -> None:
        """Read on until the bytes from ``at`` on, so many, are in the buffer."""
        while self._read <= at:
            self._base = self._read
            self._read_into(self._buffer)
        held = self._read - at
        self._buffer[:held] = self._buffer[at - self._base : self._read - self._base]
        self._base = at
        while self._read < at + length:
            self._read_into(self._buffer[self._read - at :])

    def _read_into(self, buffer: memoryview) -> None:
        count = self._reader.readinto(buffer)
        if not count:
            raise self._ended()
        self._read += count

    def _ended(self) -> FormatError:
        return FormatError(f"the tar of {self._name} ends at byte {self._read}, inside a file")


def write_all(file: int, data: memoryview, position: int) -> None:
    """Write bytes to a position of an open file. Raises `OSError`."""
    while data:
        count = os.pwrite(file, data, position)
        if count == len(data):
            return
        data, position = data[count:], position + count
