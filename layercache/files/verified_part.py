"""A part of a tar that comes out of a pass over the whole layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.streams.readers import CHUNK, JudgingReader
from layercache.streams.temporary_file import TemporaryFile

if TYPE_CHECKING:
    from layercache.backend import Reader

MEMORY = 8 << 20
"""Bytes of a part that are kept in memory; a longer one is kept in a temporary file."""


class VerifiedPart(JudgingReader):
    """Gives no byte of a part before the whole layer was verified.

    A pass gives the bytes of a part as they come, and holds back only the last ones until it has verified the
    whole. That is enough for who reads to the end. But who reads a file's beginning, or out of its middle,
    never gets there. So the part is read to its end at the first read, and kept until it is closed.
    """

    def __init__(self, raw: Reader) -> None:
        super().__init__(raw, raw.size)
        self._at = 0
        self._begun: bytes | None = None  # the first bytes of the part, once all of it was read
        self._rest: TemporaryFile | None = None

    def _read(self, size: int) -> bytes:
        if self._begun is None:
            self._begun = self._keep()
        data = self._begun[self._at : self._at + size]
        if not data and self._rest is not None:
            buffer = bytearray(min(size, MEMORY))
            data = bytes(buffer[: self._rest.readinto_at(self._at - len(self._begun), buffer)])
        self._at += len(data)
        return data

    def _keep(self) -> bytes:
        begun = bytearray()
        while chunk := self._raw.read(CHUNK):
            if self._rest is None and len(begun) + len(chunk) <= MEMORY:
                begun += chunk
            else:
                self._rest = self._rest or TemporaryFile()
                self._rest.write(chunk)
        return bytes(begun)

    def close(self) -> None:
        super().close()
        if self._rest is not None:
            self._rest.close()
