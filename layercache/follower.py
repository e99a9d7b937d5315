"""Readers of bytes that are still on their way."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from layercache.streams import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader
    from layercache.pipeline import Transfer

ALL = 1 << 62
"""More bytes than any blob has: who waits for more than that waits for the end."""


class Follower(io.RawIOBase):
    """A reader of a transfer: at its own pace, from its own offset, while the bytes still come.

    Seekable; seeking relative to an end that is not known yet waits for it.
    """

    def __init__(self, transfer: Transfer, verified: Callable[[], None] | None) -> None:
        self._transfer = transfer
        self._verified = verified
        self._offset = 0

    @property
    def size(self) -> int | None:
        return self._transfer.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """As any raw stream's. What is in memory as a piece is given as that, and not copied."""
        self._checkClosed()
        if size > 0:
            left = self._wait(self._offset) - self._offset
            piece = self._transfer.recent_at(self._offset)
            if piece is not None and len(piece) <= min(left, size):
                self._offset += len(piece)
                self._transfer.catch_up(self)
                return piece
        return super().read(size) or b""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._checkClosed()
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        left = self._wait(self._offset) - self._offset
        if left <= 0:
            return 0
        count = self._transfer.readinto_at(self._offset, view[:left])
        self._offset += count
        self._transfer.catch_up(self)
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        match whence:
            case io.SEEK_SET:
                target = offset
            case io.SEEK_CUR:
                target = self._offset + offset
            case io.SEEK_END:
                target = self._end() + offset
            case _:
                raise ValueError(f"not a whence: {whence}")
        if target < 0:
            raise ValueError(f"a negative offset: {target}")
        self._offset = target
        self._transfer.catch_up(self)
        return target

    def tell(self) -> int:
        return self._offset

    def set_pace(self) -> None:
        """From now on the transfer does not run far ahead of this follower, who reads without a pause."""
        self._transfer.set_pace(self)

    def beside(self) -> Follower:
        """Another reader of the same transfer, from the first byte. Raises what the transfer failed with."""
        other = self._transfer.follow()
        if other is None:
            self._end()  # raises
        assert other is not None, "a transfer that is followed and has not failed can be followed"
        return other

    def run(self) -> None:
        """See the transfer to its end, without looking at what comes meanwhile."""
        self._end()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._transfer.leave(self)

    def _end(self) -> int:
        self._transfer.set_free(self)
        return self._wait(ALL)

    def _wait(self, beyond: int) -> int:
        visible = self._transfer.wait(beyond)
        if self._verified and self._transfer.verified:
            self._verified()
            self._verified = None
        return visible


def read_through(reader: Reader) -> None:
    """See a reader to its end, which publishes what it brings; a follower's bytes are not read for that."""
    if isinstance(reader, Follower):
        reader.run()
    else:
        while reader.read(CHUNK):
            pass
