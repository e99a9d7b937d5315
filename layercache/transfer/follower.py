"""Readers of bytes that are still on their way."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar, Protocol

from layercache.errors import LayercacheError
from layercache.streams.readers import CHUNK
from layercache.transfer.growing import ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader
    from layercache.transfer.recheck import Recheck


class Followed(Protocol):
    """A transfer, as its followers see it. All offsets are those of the whole form."""

    @property
    def size(self) -> int | None: ...

    @property
    def verified(self) -> bool: ...

    @property
    def received(self) -> int: ...

    def wait(self, beyond: int) -> int: ...

    def recent_at(self, offset: int) -> bytes | None: ...

    def readinto_at(self, offset: int, buffer: WriteableBuffer) -> int: ...

    def splice_at(self, offset: int, pipe: int, size: int) -> int: ...

    def recheck(self, start: int) -> Recheck: ...

    def follow(self, verified: Callable[[], None] | None = None) -> Follower | None: ...

    def set_pace(self, follower: Follower, *, holds: bool) -> None: ...

    def set_free(self, follower: Follower) -> None: ...

    def catch_up(self, follower: Follower) -> None: ...

    def leave(self, follower: Follower, *, finish: bool = True) -> bool: ...


class Follower(io.RawIOBase):
    """A reader of a transfer, or of a range of it, at its own pace, while the bytes still come.

    Bytes ``start`` to ``end`` (exclusive; None: to the end), as in `Backend.open`: what lies past the
    form's end is not there, so such a range is short or empty. Offsets of ``seek`` and ``tell`` count from
    ``start``. Seekable; seeking relative to an end that is not known yet waits for it.

    The last `HELD_BACK` bytes of the form are given only once all of it was found right. This holds for a
    range too: what it has of them waits for that. Bytes before them are given as they come, so a range
    that ends before them may have come to its end, without an error, before anything was found wrong;
    a range is checked by the hash of the whole form, or not at all. Errors that the transfer ends with are
    raised by every read that needs bytes which did not come.
    """

    # One thread at a time reads a follower, as any stream. What several followers share is in the transfer.
    # `position` is read by the thread that keeps the pace, without a lock: seen late, it waits a little
    # longer.

    may_find_wrong_entry: ClassVar[bool] = True
    """See `layercache.resolver.healing`."""

    def __init__(
        self, transfer: Followed, verified: Callable[[], None] | None, start: int = 0, end: int | None = None
    ) -> None:
        self._transfer = transfer
        self._verified = verified
        self._start = start
        self._stop = ALL if end is None else end
        self.position = start
        self._recheck = transfer.recheck(start)
        self._failure: LayercacheError | None = None
        # Taken by what leaves the transfer first: the thread that closes this, or another that gives it up.
        self._present = [self]

    @property
    def size(self) -> int | None:
        """Bytes in all that this follower gives, if that is known yet."""
        size = self._transfer.size
        return None if size is None else max(0, min(size, self._stop) - self._start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """As any raw stream's. What is in memory as a piece is given as that, and not copied."""
        self._checkClosed()
        if size > 0:
            left = self._left()
            piece = self._transfer.recent_at(self.position)
            if piece is not None and len(piece) <= min(left, size):
                self._pass(piece)
                return piece
        return super().read(size) or b""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._checkClosed()
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        left = self._left()
        if left <= 0:
            return 0
        try:
            count = self._transfer.readinto_at(self.position, view[:left])
            self._pass(view[:count])
        except LayercacheError as error:
            self._failure = error
            raise
        return count

    def splice_to(self, pipe: int, size: int, /) -> int:
        """As `layercache.streams.spliced.splice_to`, of bytes that are on their way still."""
        self._checkClosed()
        left = min(self._left(), size)
        count = self._transfer.splice_at(self.position, pipe, left) if left > 0 else 0
        self.position += count
        self._transfer.catch_up(self)
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        match whence:
            case io.SEEK_SET:
                target = offset
            case io.SEEK_CUR:
                target = self.tell() + offset
            case io.SEEK_END:
                target = max(0, min(self._end(), self._stop) - self._start) + offset
            case _:
                raise ValueError(f"not a whence: {whence}")
        if target < 0:
            raise ValueError(f"a negative offset: {target}")
        if target != self.tell():
            self._recheck.skip()
        self.position = self._start + target
        self._transfer.catch_up(self)
        return target

    def tell(self) -> int:
        return self.position - self._start

    def begins_alike(self, other: Reader, count: int) -> bool:
        """Whether another reader begins with the bytes that this one gave. It is read up to there."""
        return self._recheck.begins_alike(other, count)

    @property
    def received(self) -> int:
        """Bytes of the form that were received so far, by any reader."""
        return self._transfer.received

    def set_pace(self, *, holds: bool = True) -> None:
        """From now on what this follower reads next stays in memory, as far as that is little.

        ``holds``: it reads without a pause, and the transfer does not run far ahead of it.
        """
        self._transfer.set_pace(self, holds=holds)

    def beside(self) -> Follower:
        """Another reader of the same transfer, from the first byte. Raises what the transfer failed with."""
        other = self._transfer.follow()
        if other is None:
            self._end()  # raises
        assert other is not None, "a transfer that is followed and has not failed can be followed"
        return other

    def run(self) -> None:
        """See the transfer to its end, without looking at what comes."""
        self._end()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._leave(finish=True)

    def give_up(self) -> bool:
        """Close it, although another thread may be reading it just now: that one gets an error.

        The transfer is not finished without readers. Returns whether it has ended because of that.
        """
        super().close()
        return self._leave(finish=False)

    def _leave(self, *, finish: bool) -> bool:
        try:
            self._present.pop()  # one step, so of two threads one leaves
        except IndexError:
            return False
        return self._transfer.leave(self, finish=finish)

    def _pass(self, data: bytes | memoryview) -> None:
        """Go on past these bytes, if they still are right."""
        end = self.position + len(data)
        self._recheck.passed(data, end, is_last=end == self._stop)
        self.position = end
        self._transfer.catch_up(self)

    def _left(self) -> int:
        """How many bytes can be read now: at least one, unless this is the end."""
        if self.position >= self._stop:
            return 0
        return min(self._wait(self.position), self._stop) - self.position

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
