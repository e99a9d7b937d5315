"""The tar that comes out of spans of a blob, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from layercache.errors import FormatError
from layercache.index import gzip_points, zstd_frames
from layercache.oci.descriptor import GZIP, ZSTD
from layercache.streams.readers import CHUNK, BytesReader, WrappingReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from layercache.backend import Reader
    from layercache.index.spans import SeekIndex, Span

TOGETHER = 8 << 20
"""Bytes of the blob that are asked for in one request at most, but for a span that is longer."""


class Spans(Protocol):
    """Gives the bytes of adjacent spans, found right: see `layercache.files.spans_of_blob`."""

    def read(self, spans: Sequence[Span], /) -> list[bytes]: ...


class SpanReader(WrappingReader):
    """Bytes ``start`` to ``end`` of the tar, out of spans that were found right before they are inflated.

    The first request is for one span, and each further one for twice as many as the one before, up to
    `TOGETHER` bytes. From the second on, the next one is under way while a group is inflated. Reading raises
    `WrongSpanError`, `NoPlaceError`, and `FormatError` where a span does not inflate to what the index says.

    Read by one thread at a time. The thread that fetches ahead shares nothing with it but the future.
    """

    def __init__(self, index: SeekIndex, blob: Spans, start: int, end: int) -> None:
        super().__init__(BytesReader(), end - start)
        self._index = index
        self._blob = blob
        self._at = start
        self._end = end
        self._next = index.number_at(start)
        self._last = index.number_at(max(start, end - 1))
        self._many = 1
        self._group: list[tuple[Span, bytes]] = []
        self._ahead: tuple[list[Span], Future[list[bytes]]] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._span_end = start  # the end, in the tar, of the span that is being inflated

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        size = min(size, self._end - self._at)
        if not size:
            return b""
        while self._at >= self._span_end:
            self._begin_span()
        data = self._raw.read(min(size, self._span_end - self._at))
        if not data:
            raise FormatError(f"a span of {self._index.digest} inflates to less than the index says")
        self._at += len(data)
        return data

    def _begin_span(self) -> None:
        span, self._raw = self._next_span()
        self._span_end = span.tar_end
        skip = min(self._at, span.tar_end) - span.tar_start
        while skip > 0:
            passed = len(self._raw.read(min(CHUNK, skip)))
            if not passed:
                raise FormatError(f"a span of {self._index.digest} inflates to less than the index says")
            skip -= passed

    def _next_span(self) -> tuple[Span, Reader]:
        """The next span, and what it inflates to."""
        if not self._group:
            self._fetch()
        span, data = self._group.pop(0)
        return span, inflated(self._index, span, data)

    def _fetch(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            spans, future = ahead
            found = future.result()
        else:
            spans = self._following()
            found = self._blob.read(spans)
        self._group = list(zip(spans, found, strict=True))
        if self._many > 2 and self._next <= self._last:
            self._fetch_ahead()

    def _fetch_ahead(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "layercache reads ahead")
        spans = self._following()
        self._ahead = spans, self._thread.submit(self._blob.read, spans)

    def _following(self) -> list[Span]:
        """The spans of the next request."""
        spans: list[Span] = []
        size = 0
        while self._next <= self._last and len(spans) < self._many:
            span = self._index.span(self._next)
            size += span.end - span.start
            if spans and size > TOGETHER:
                break
            spans.append(span)
            self._next += 1
        self._many *= 2
        return spans

    def close(self) -> None:
        self._raw.close()
        self._group = []
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)


def inflated(index: SeekIndex, span: Span, data: bytes) -> Reader:
    """What a span inflates to, perhaps with more behind it. Reading raises `FormatError`."""
    if index.compression == GZIP:
        return gzip_points.inflated(data, span.point, index.digest)
    if index.compression == ZSTD:
        return zstd_frames.inflated(data, index.digest)
    return BytesReader(data)
