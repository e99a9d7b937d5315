"""The first bytes of a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.streams.readers import WrappingReader

if TYPE_CHECKING:
    from layercache.backend import Reader


class BoundedReader(WrappingReader):
    """No more than ``limit`` bytes of another reader, which is read no further than that."""

    def __init__(self, raw: Reader, limit: int) -> None:
        super().__init__(raw, None if raw.size is None else min(raw.size, limit))
        self._left = limit

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        data = self._raw.read(min(size, self._left)) if self._left else b""
        self._left -= len(data)
        return data
