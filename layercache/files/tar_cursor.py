"""Reads pieces of a tar from its beginning to its end, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from layercache.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from layercache.backend import Reader
    from layercache.files.layer_tar import LayerTar

CHUNK = 1 << 20
"""Bytes that are read at once."""


class TarCursor:
    """A place in a tar that only goes forward, up to ``end``. The tar is opened at the first piece."""

    def __init__(self, tar: LayerTar, end: int, *, in_pass: bool) -> None:
        """``in_pass``: read it out of a pass over the whole layer, so that a tier keeps what was inflated."""
        self._tar = tar
        self._end = end
        self._open = tar.read_in_pass if in_pass else tar.read
        self._reader: Reader | None = None
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

    def pieces(self, at: int, length: int) -> Iterator[memoryview]:
        """The bytes from ``at`` on, so many, in parts. Each part is valid until the next is asked for.

        Raises `FormatError` where the tar ends before, or for a place behind the cursor.
        """
        if not length:
            return
        if self._reader is None:
            self._reader = self._open(at, self._end)
            self._at = at
        if at < self._at:
            raise FormatError(f"files overlap at byte {at} of the tar {self._tar.name}")
        while length:
            skip = at - self._at
            part = self._held[skip : skip + length]
            if part:
                self._held = self._held[skip + len(part) :]
                at += len(part)
                self._at = at
                length -= len(part)
                yield part
            else:
                self._at += len(self._held)
                count = self._reader.readinto(self._buffer)
                if not count:
                    raise FormatError(f"the tar of {self._tar.name} ends at byte {self._at}, inside a file")
                self._held = self._buffer[:count]
