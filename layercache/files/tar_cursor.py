"""Reads pieces of a tar from its beginning to its end, in one pass."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from layercache.backend.capabilities import CopyingReader
from layercache.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from layercache.backend import Reader
    from layercache.files.layer_tar import LayerTar

CHUNK = 1 << 20
"""Bytes that are read at once."""

MANY = 256 << 10
"""Bytes from which on the kernel copies them, which takes longer for few."""

STEP = 8 << 20
"""Bytes that it copies at once."""


class TarCursor:
    """A place in a tar that only goes forward, up to ``end``. The tar is opened at the first piece."""

    def __init__(self, tar: LayerTar, end: int, read: Callable[[int, int], Reader]) -> None:
        """``read``: the method of the tar by which it is opened."""
        self._tar = tar
        self._end = end
        self._open = read
        self._reader: Reader | None = None
        self._copying: CopyingReader | None = None  # the reader, if it can copy
        self._buffer = memoryview(bytearray(CHUNK))
        self._held = self._buffer[:0]
        self._at = 0  # of what is held

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()

    def held(self, at: int, length: int) -> memoryview | None:
        """The bytes from ``at`` on, if all of them were read already, as most small files were; else None.

        They are valid until more is asked for.
        """
        skip = at - self._at
        if skip < 0 or skip + length > len(self._held):
            return None
        self._at = at + length
        part, self._held = self._held[skip : skip + length], self._held[skip + length :]
        return part

    def is_verified(self, at: int) -> bool:
        """Whether the bytes from ``at`` on come out of a file as it stands in a trusted tier.

        So they need not be hashed, as no other reader of that tier does. Opens the tar if it is not open yet.
        """
        if self._reader is None:
            self._begin(at)
        return self._copying is not None

    def _begin(self, at: int) -> Reader:
        self._reader = reader = self._open(at, self._end)
        self._copying = reader if isinstance(reader, CopyingReader) else None
        self._at = at
        return reader

    def pieces(self, at: int, length: int) -> Iterator[memoryview]:
        """The bytes from ``at`` on, so many, in parts. Each part is valid until the next is asked for.

        Raises `FormatError` where the tar ends before, or for a place behind the cursor.
        """
        while length:
            part = self._next_part(at, length)
            at += len(part)
            length -= len(part)
            yield part

    def copy(self, at: int, length: int, file: int, position: int) -> Iterator[int]:
        """Write the bytes from ``at`` on to a position of an open file; yield how many in each step.

        Many are copied by the kernel, where it can. Raises as `pieces` does, and `OSError`.
        """
        while length:
            if self._copying and length >= MANY and self._at + len(self._held) == at:
                count = self._copying.copy_to(file, position, min(length, STEP))
                if not count:
                    raise self._ended()
                self._held, self._at = self._buffer[:0], at + count
            else:
                part = self._next_part(at, length)
                count = len(part)
                write_all(file, part, position)
            at, position, length = at + count, position + count, length - count
            yield count

    def _next_part(self, at: int, length: int) -> memoryview:
        """The bytes from ``at`` on, at least one."""
        reader = self._reader or self._begin(at)
        if at < self._at:
            raise FormatError(f"files overlap at byte {at} of the tar {self._tar.name}")
        while not (part := self._held[at - self._at : at - self._at + length]):
            self._at += len(self._held)
            count = reader.readinto(self._buffer)
            self._held = self._buffer[:count]
            if not count:
                raise self._ended()
        self._held = self._held[at - self._at + len(part) :]
        self._at = at + len(part)
        return part

    def _ended(self) -> FormatError:
        return FormatError(f"the tar of {self._tar.name} ends at byte {self._at}, inside a file")


def write_all(file: int, data: memoryview, position: int) -> None:
    """Write bytes to a position of an open file. Raises `OSError`."""
    while data:
        count = os.pwrite(file, data, position)
        data, position = data[count:], position + count
