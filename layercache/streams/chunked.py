"""Chunks that come one after the other, as a stream."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class ChunkedReader(io.RawIOBase):
    """A stream of what ``next_chunk`` returns: chunks of any size, and None at the end."""

    _left = memoryview(b"")

    @abstractmethod
    def next_chunk(self) -> bytes | None: ...

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._left:
            if (chunk := self.next_chunk()) is None:
                return 0
            self._left = memoryview(chunk)
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
