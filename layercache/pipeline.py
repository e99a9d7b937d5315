"""One pass over a blob: read, hash, spool, and let readers follow while it grows.

Two transfers make the pass over a layer: the compressed one reads the source; the uncompressed one
inflates what a follower of the first reads. Each byte is pulled, hashed and inflated once, however many
follow.
"""

from __future__ import annotations

import hashlib
import io
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from layercache.digest import Hash
from layercache.errors import LayercacheError
from layercache.streams import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader, Spool

HOLD = CHUNK
"""The last bytes that followers do not see before the whole was found right."""

IN_FLIGHT = 4
"""Chunks on their way from the thread that reads or inflates to the one that hashes and writes."""


class Transfer:
    """One form of a layer on its way: produced once, hashed, spooled, followed by any number of readers.

    ``finish(hash, size)`` is called once when all bytes are there, and raises where they are wrong;
    ``publish(spool, hash)`` comes next and makes them an entry; ``settled()`` comes last, whether it went
    well or not. Followers see the last `HOLD` bytes after the first of these, the end after the second.

    The readers drive it: whoever needs bytes that are not there yet produces them, the others wait. After
    ``start`` two threads do that instead: one reads (or inflates), one hashes and writes. A transfer whose
    last follower leaves before the end is given up, and leaves nothing.
    """

    def __init__(
        self,
        raw: Reader,
        spool: Spool,
        *,
        finish: Callable[[Hash, int], None],
        publish: Callable[[Spool, Hash], None],
        settled: Callable[[], None],
        progress: Callable[[int], None],
        algorithm: str = "sha256",
        size: int | None = None,
    ) -> None:
        self.size = size
        self.verified = False
        self._raw = raw
        self._spool = spool
        self._finish = finish
        self._publish = publish
        self._when_settled = settled
        self._progress = progress
        self._hasher = hashlib.new(algorithm)
        self._written = 0
        self._visible = 0
        self._changed = threading.Condition()
        self._driven = False
        self._settled = False
        self._error: Exception | None = None
        self._followers = 0
        self._consuming = False
        self._threads: list[threading.Thread] = []

    def follow(self, verified: Callable[[], None] | None = None) -> Follower | None:
        """A reader from the first byte; None when it is too late: all is over and nobody follows.

        ``verified`` is called in the follower's thread once ``finish`` was content, before that follower
        gets the last bytes; what it raises, the follower raises instead.
        """
        with self._changed:
            if self._settled and (self._error or not self._in_use):
                return None
            self._followers += 1
        return Follower(self, verified)

    def start(self) -> None:
        """Let two threads drive it. To be called once, by somebody who follows."""
        tokens: SimpleQueue[None] = SimpleQueue()
        chunks: SimpleQueue[bytes | Exception] = SimpleQueue()
        for _ in range(IN_FLIGHT):
            tokens.put(None)

        def produce() -> None:
            chunk = b"some"
            try:
                while chunk and not self._settled:
                    tokens.get()
                    chunk = self._raw.read(CHUNK)
                    chunks.put(chunk)
                if chunk:
                    chunks.put(_given_up())
            except Exception as error:  # handed on: the followers raise it
                chunks.put(error)

        def consume() -> None:
            try:
                while not self._settled:
                    chunk = chunks.get()
                    if isinstance(chunk, Exception):
                        raise chunk
                    self._consume(chunk)
                    tokens.put(None)
            except Exception as error:  # the followers raise it
                self._settle(error)
            finally:
                tokens.put(None)
                self._threads[0].join()  # what is read from must stay open until nobody reads
                self._raw.close()
                self._consuming = False
                self._close_spool_if_unused()

        self._driven = self._consuming = True
        self._threads = [threading.Thread(target=run, daemon=True) for run in (produce, consume)]
        for thread in self._threads:
            thread.start()

    def cancel(self, seconds: float) -> None:
        """Give it up, and wait at most so long for its threads to notice."""
        self._settle(_given_up())
        for thread in self._threads:
            thread.join(seconds)

    def wait(self, beyond: int) -> int:
        """How many bytes may be read: more than ``beyond``, or all. Drives where nobody does."""
        while True:
            with self._changed:
                while self._visible <= beyond and not self._settled and self._driven:
                    self._changed.wait()
                if self._visible > beyond:
                    return self._visible
                if self._error is not None:
                    raise self._error
                if self._settled:
                    return self._visible
                self._driven = True
            try:
                self._consume(self._raw.read(CHUNK))
            except BaseException as error:
                # The others must not wait for ever; an interrupt is for this thread alone.
                self._settle(error if isinstance(error, Exception) else _given_up())
                raise
            finally:
                with self._changed:
                    self._driven = False
                    self._changed.notify_all()

    def readinto_at(self, offset: int, buffer: WriteableBuffer) -> int:
        return self._spool.readinto_at(offset, buffer)

    def leave(self) -> None:
        """A follower is done. The last one to leave gives up what is not finished."""
        with self._changed:
            self._followers -= 1
            last = not self._followers
        if last:
            self._settle(_given_up())
        self._close_spool_if_unused()

    def _consume(self, chunk: bytes) -> None:
        if chunk:
            self._hasher.update(chunk)
            self._spool.write(chunk)
            self._written += len(chunk)
            self._progress(len(chunk))
        too_long = self.size is not None and self._written > self.size
        if not chunk or too_long:
            self._complete()
            return
        with self._changed:
            self._visible = max(0, self._written - HOLD)
            self._changed.notify_all()

    def _complete(self) -> None:
        found = Hash.from_hasher(self._hasher)
        self._finish(found, self._written)
        self.verified = True
        with self._changed:
            self._visible = self.size = self._written
            self._changed.notify_all()
        self._publish(self._spool, found)
        self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        with self._changed:
            if self._settled:
                return
            self._settled = True
            self._error = error
        if not self._threads:
            self._raw.close()
        self._when_settled()
        with self._changed:
            self._changed.notify_all()

    @property
    def _in_use(self) -> bool:
        return self._followers > 0 or self._consuming

    def _close_spool_if_unused(self) -> None:
        with self._changed:
            unused = self._settled and not self._in_use
        if unused:
            self._spool.close()


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

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        left = self._transfer.wait(self._offset) - self._offset
        if self._verified and self._transfer.verified:
            self._verified()
            self._verified = None
        if left <= 0:
            return 0
        count = self._transfer.readinto_at(self._offset, view[:left])
        self._offset += count
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
        return target

    def tell(self) -> int:
        return self._offset

    def run(self) -> None:
        """See the transfer to its end."""
        self._end()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._transfer.leave()

    def _end(self) -> int:
        seen = 0
        while (now := self._transfer.wait(seen)) > seen:
            seen = now
        return seen


def read_through(reader: Reader) -> None:
    """See a reader to its end, which publishes what it brings; a follower's bytes are not read for that."""
    if isinstance(reader, Follower):
        reader.run()
    else:
        while reader.read(CHUNK):
            pass


def _given_up() -> LayercacheError:
    return LayercacheError("the transfer was given up before its end")
