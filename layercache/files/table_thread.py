"""Makes a table of files in a separate thread, next to the pass that the tar comes out of."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from layercache.index.table import TableBuilder

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from layercache.index.table import FileTable

AHEAD = 16 << 20
"""Bytes of the tar that may wait for the thread."""


class TableThread:
    """A `TableBuilder` that takes bytes at once, and hashes files while the pass goes on.

    One thread calls it. The other one alone uses the builder, until `finish` has waited for all that it was
    given. What is given must not change any more.
    """

    def __init__(self) -> None:
        self._builder = TableBuilder()
        self._thread = ThreadPoolExecutor(1, "layercache makes a table")
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def data(self, chunk: bytes, /) -> None:
        """Take the next bytes, as many as there are."""
        while self._size > AHEAD:
            self._await_one()
        self._waiting.append((len(chunk), self._thread.submit(self._builder.data, chunk)))
        self._size += len(chunk)

    def finish(self) -> FileTable:
        """The table, once all bytes have come. Raises as `TableBuilder.finish`."""
        while self._waiting:
            self._await_one()
        return self._builder.finish()

    def _await_one(self) -> None:
        size, done = self._waiting.popleft()
        done.result()
        self._size -= size
