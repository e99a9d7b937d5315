"""The tar that comes out of spans of a blob, inflated by several threads at once."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from layercache.files.span_reader import SpanReader, inflated
from layercache.streams.readers import BytesReader, read_full

if TYPE_CHECKING:
    from concurrent.futures import Future

    from layercache.backend import Reader
    from layercache.files.span_reader import Spans
    from layercache.index.spans import SeekIndex, Span

THREADS = 2
"""The third thread is the reader's, which hashes what comes out."""

AHEAD = 10 << 20
"""Bytes of the tar that are inflated ahead, or one span if that has more."""


class SpansAhead(SpanReader):
    """As `SpanReader`, where much is read: spans are inflated ahead of the reader, in order.

    Read by one thread at a time. Those that inflate share nothing with it but futures, and the spans and the
    index, which do not change.
    """

    def __init__(self, index: SeekIndex, blob: Spans, start: int, end: int) -> None:
        super().__init__(index, blob, start, end)
        self._pool = ThreadPoolExecutor(THREADS, "layercache inflates")
        self._under_way: deque[tuple[Span, Future[bytes]]] = deque()
        self._size_ahead = 0

    def _next_span(self) -> tuple[Span, Reader]:
        while self._size_ahead < AHEAD and (self._group or self._ahead or self._next <= self._last):
            if not self._group:
                self._fetch()
            span, data = self._group.pop(0)
            self._under_way.append((span, self._pool.submit(_whole, self._index, span, data)))
            self._size_ahead += span.tar_end - span.tar_start
        span, future = self._under_way.popleft()
        self._size_ahead -= span.tar_end - span.tar_start
        return span, BytesReader(future.result())

    def close(self) -> None:
        super().close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._under_way.clear()


def _whole(index: SeekIndex, span: Span, data: bytes) -> bytes:
    with inflated(index, span, data) as reader:
        return read_full(reader, span.tar_end - span.tar_start)
