"""Makes a table of files in a separate thread, next to the pass that the tar comes out of."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from layercache.index.table import TableBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from types import TracebackType

    from layercache.backend import Reader
    from layercache.index.table import FileTable

AHEAD = 16 << 20
"""Bytes of the tar that may wait for the thread."""

BUFFER = 256 << 10
"""Bytes that are handed over at once by a pass that reads the tar."""


class TableThread:
    """A `TableBuilder` that takes bytes at once, and hashes files while the pass goes on.

    One thread calls it. The other one alone uses the builder, until `finish` has waited for all that it was
    given. What is given must not change any more.
    """

    def __init__(self) -> None:
        self._builder = TableBuilder()
        self._thread = ThreadPoolExecutor(1, "layercache makes a table")
        self._waiting: deque[tuple[Future[None], int, memoryview | None]] = deque()
        self._free: list[memoryview] = []
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def read(self, tar: Reader) -> Iterator[memoryview]:
        """The bytes of a tar, which the other thread gets too. Each piece is there until the next one is.

        They are in buffers that are used again once the other thread is done with them: pages of new memory
        for each piece can cost the pass a quarter of its time.
        """
        while True:
            buffer = self._free.pop() if self._free else memoryview(bytearray(BUFFER))
            size = _fill(buffer, tar)
            if size:
                self._give(buffer[:size], buffer)
                yield buffer[:size]
            if size < BUFFER:
                return

    def data(self, chunk: bytes, /) -> None:
        """Take the next bytes, as many as there are."""
        self._give(chunk, None)

    def finish(self) -> FileTable:
        """The table, once all bytes have come. Raises as `TableBuilder.finish`."""
        while self._waiting:
            self._await_one()
        return self._builder.finish()

    def _give(self, chunk: bytes | memoryview, buffer: memoryview | None) -> None:
        while self._size > AHEAD or (self._waiting and self._waiting[0][0].done()):
            self._await_one()
        self._waiting.append((self._thread.submit(self._builder.data, chunk), len(chunk), buffer))
        self._size += len(chunk)

    def _await_one(self) -> None:
        done, size, buffer = self._waiting.popleft()
        done.result()
        self._size -= size
        if buffer is not None:
            self._free.append(buffer)


def _fill(buffer: memoryview, tar: Reader) -> int:
    """How many bytes are in the buffer now: fewer than it takes only at the end."""
    size = 0
    while size < len(buffer) and (more := tar.readinto(buffer[size:])):
        size += more
    return size
