"""Readers of bytes that are still on their way."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

from layercache.errors import LayercacheError
from layercache.streams.readers import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader

ALL = 1 << 62
"""More bytes than any blob has: who waits for more than that waits for the end."""


class Growing(Protocol):
    """Bytes that still come, as those who follow them see them."""

    size: int | None
    verified: bool

    def wait(self, beyond: int) -> int: ...

    def recent_at(self, offset: int) -> bytes | None: ...

    def readinto_at(self, offset: int, buffer: WriteableBuffer) -> int: ...

    def new_hasher(self) -> _Hash | None: ...

    def is_near_end(self, offset: int) -> bool: ...

    def judge(self, end: int, hasher: _Hash | None) -> None: ...

    def follow(self, verified: Callable[[], None] | None = None) -> Follower | None: ...

    def set_pace(self, follower: Follower) -> None: ...

    def set_free(self, follower: Follower) -> None: ...

    def catch_up(self, follower: Follower) -> None: ...

    def leave(self, follower: Follower) -> None: ...


class Follower(io.RawIOBase):
    """A reader of a transfer: at its own pace, from its own offset, while the bytes still come.

    Seekable; seeking relative to an end that is not known yet waits for it.
    """

    def __init__(self, transfer: Growing, verified: Callable[[], None] | None) -> None:
        self._transfer = transfer
        self._verified = verified
        self._offset = 0
        self._hasher = transfer.new_hasher()
        self._judged = False
        self._failure: LayercacheError | None = None

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
                self._pass(piece)
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
        try:
            count = self._transfer.readinto_at(self._offset, view[:left])
            self._pass(view[:count])
        except LayercacheError as error:
            self._failure = error
            raise
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
        if target != self._offset:
            self._hasher = None  # the hash is of all bytes in their order
        self._offset = target
        self._transfer.catch_up(self)
        return target

    def tell(self) -> int:
        return self._offset

    def begins_alike(self, other: Reader, count: int) -> bool:
        """Whether another reader begins with the first bytes of this transfer. It is read up to there."""
        offset, buffer = 0, memoryview(bytearray(CHUNK))
        while offset < count:
            theirs = other.read(min(CHUNK, count - offset))
            done = 0
            while done < len(theirs):
                try:
                    got = self._transfer.readinto_at(offset + done, buffer[: len(theirs) - done])
                except LayercacheError:  # it is gone: nobody knows what it was
                    return False
                if buffer[:got] != theirs[done : done + got]:
                    return False
                done += got
            if not theirs:
                return False
            offset += len(theirs)
        return True

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

    def _pass(self, data: bytes | memoryview) -> None:
        """Go on past these bytes. Near the end, and at it, it is looked whether all still are right.

        Once published, they stand in a file that other programs can reach.
        """
        transfer, end = self._transfer, self._offset + len(data)
        if self._hasher is not None:
            self._hasher.update(data)
        if transfer.is_near_end(end) and (not self._judged or end == transfer.size):
            transfer.judge(end, self._hasher)
            self._judged = True
        self._offset = end
        transfer.catch_up(self)

    def _end(self) -> int:
        self._transfer.set_free(self)
        return self._wait(ALL)

    def _wait(self, beyond: int) -> int:
        if self._failure is not None:
            raise self._failure
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
