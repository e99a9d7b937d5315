"""A part of a tar that comes out of a pass over the whole layer."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from layercache.streams.readers import CHUNK, JudgingReader

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
        self._kept: SpooledTemporaryFile[bytes] | None = None

    def _read(self, size: int) -> bytes:
        if self._kept is None:
            self._kept = kept = SpooledTemporaryFile(MEMORY)  # noqa: SIM115  # closed by `close`
            while chunk := self._raw.read(CHUNK):
                kept.write(chunk)
            kept.seek(0)
        return self._kept.read(size)

    def close(self) -> None:
        super().close()
        if self._kept is not None:
            self._kept.close()
