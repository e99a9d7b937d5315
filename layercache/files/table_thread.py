"""Makes a table of files in a separate thread, next to the pass that the tar comes out of."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Self

from layercache.index.table import TableBuilder
from layercache.streams.readers import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from layercache.backend import Reader
    from layercache.index.table import FileTable

AHEAD = 4 << 20
"""Bytes of the tar that may wait for the thread: few enough to be in a cache of the processor still."""

BUFFER = CHUNK
"""Bytes that are handed over at once by a pass that reads the tar."""


class TableThread:
    """A `TableBuilder` that takes bytes at once, and hashes files while the pass goes on.

    One thread calls it. The other one alone uses the builder, until `finish` has waited for all that it was
    given. What is given must not change any more.
    """

    def __init__(self) -> None:
        self._builder = TableBuilder()
        self._given: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[bytes | memoryview] = SimpleQueue()
        self._free: list[memoryview] = []
        self._size = 0  # bytes that were given, and did not come back yet
        self._error: Exception | None = None
        self._is_cancelled = False
        self._thread = Thread(target=self._work, name="layercache makes a table")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_cancelled = True
        self._given.put(None)

    def _work(self) -> None:
        """Take what is given until that is None; after an error, or once nobody waits, only give it back."""
        while (chunk := self._given.get()) is not None:
            if self._error is None and not self._is_cancelled:
                try:
                    self._builder.data(chunk)
                except Exception as error:  # `finish` raises it
                    self._error = error
            self._done.put(chunk)

    def read(self, tar: Reader) -> Iterator[memoryview]:
        """The bytes of a tar, which the other thread gets too. Each piece is there until the next one is.

        They are in buffers that are used again once the other thread is done with them: pages of new memory
        for each piece can cost the pass a quarter of its time.
        """
        while True:
            buffer = self._free.pop() if self._free else memoryview(bytearray(BUFFER))
            size = _fill(buffer, tar)
            if size:
                self._give(buffer[:size])
                yield buffer[:size]
            if size < BUFFER:
                return

    def data(self, chunk: bytes, /) -> None:
        """Take the next bytes, as many as there are."""
        self._give(chunk)

    def finish(self) -> FileTable:
        """The table, once all bytes have come. Raises as `TableBuilder.finish`."""
        while self._size:
            self._await_one()
        if self._error is not None:
            raise self._error
        return self._builder.finish()

    def _give(self, chunk: bytes | memoryview) -> None:
        while self._size > AHEAD or not self._done.empty():
            self._await_one()
        self._size += len(chunk)
        self._given.put(chunk)

    def _await_one(self) -> None:
        chunk = self._done.get()
        self._size -= len(chunk)
        if isinstance(chunk, memoryview) and len(chunk) == BUFFER:
            self._free.append(chunk)


def _fill(buffer: memoryview, tar: Reader) -> int:
    """How many bytes are in the buffer now: fewer than it takes only at the end."""
    size = 0
    while size < len(buffer) and (more := tar.readinto(buffer[size:])):
        size += more
    return size
