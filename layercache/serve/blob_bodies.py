"""Bodies that are read from a cache piece by piece: all of a blob, or parts of it."""

from __future__ import annotations

import secrets
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, cast

from layercache.errors import BackendError
from layercache.streams.byte_ranges import Span
from layercache.streams.spliced import splice_to

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Generator, Sequence

CHUNK = 256 << 10
"""Bytes of a piece at most."""

GAP = 64 << 10
"""Bytes between two parts that are read and left out, where another request would cost more."""

RUNS_MAX = 16
"""Requests to an upstream for one of a client: a limit of the upstream on requests is for all clients."""

OCTETS = "application/octet-stream"


class Body:
    """A body that is read piece by piece."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces

    def read(self) -> bytes:
        """The next piece, as soon as there is one; nothing at the end. Raises what the pieces raise."""
        return next(self._pieces, b"")

    def splice_to(self, pipe: int) -> int:  # noqa: ARG002
        """As `Pieces.splice_to`."""
        return 0

    def close(self) -> None:
        self._pieces.close()


class Stretch:
    """The next ``size`` bytes of a stream as a body. Raises `BackendError` where it has less.

    The stream is opened by the first read.
    """

    def __init__(self, opened: Callable[[], BinaryIO], size: int) -> None:
        self._opened = opened
        self._left = size
        self._stream: io.BufferedReader | None = None

    def read(self) -> bytes:
        """As `Body.read`."""
        if self._stream is None:
            self._stream = cast("io.BufferedReader", self._opened())
        if not self._left:
            return b""
        # Of as many bytes its buffer keeps none: so what is below it stands at the same byte.
        piece = self._stream.read1(min(self._left, CHUNK))
        if not piece:
            raise BackendError(f"a blob ended {self._left} bytes too early")
        self._left -= len(piece)
        return piece

    def splice_to(self, pipe: int) -> int:
        """As `Pieces.splice_to`."""
        if self._stream is None or not self._left:
            return 0
        count = splice_to(self._stream.raw, pipe, self._left)
        self._left -= count
        return count

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _pieces(stream: BinaryIO, size: int) -> Generator[bytes]:
    part = Stretch(lambda: stream, size)
    while piece := part.read():
        yield piece


class Multipart:
    """Several parts of a body of ``total`` bytes as multipart/byteranges (RFC 9110, 14.6).

    One part for each span, in their order: clients count them. ``opened`` opens one span; neighbours that
    are not far apart are read as one.
    """

    def __init__(self, spans: Sequence[Span], total: int, opened: Callable[[Span], BinaryIO]) -> None:
        self._spans = spans
        self._total = total
        self._opened = opened
        self._boundary = secrets.token_hex(16)
        self._end = f"\r\n--{self._boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        return f"multipart/byteranges; boundary={self._boundary}"

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        return sum(len(self._head(span)) + span.size for span in self._spans) + len(self._end)

    def pieces(self) -> Generator[bytes]:
        """The body. The first piece has bytes of the first part."""
        for run, spans in runs(self._spans):
            with self._opened(run) as stream:
                at = run.start
                for span in spans:
                    skip(stream, span.start - at)
                    head = self._head(span)
                    for piece in _pieces(stream, span.size):
                        yield head + piece
                        head = b""
                    at = span.end
        yield self._end

    def _head(self, span: Span) -> bytes:
        line = "" if span is self._spans[0] else "\r\n"
        where = f"{span.start}-{span.end - 1}/{self._total}"
        head = f"{line}--{self._boundary}\r\nContent-Type: {OCTETS}\r\nContent-Range: bytes {where}\r\n\r\n"
        return head.encode()


def runs(spans: Sequence[Span]) -> list[tuple[Span, list[Span]]]:
    """The spans, with what is read for them: one run of bytes for those that follow each other closely.

    Spans in ascending order take `RUNS_MAX` runs at most, whatever is between them.
    """
    gaps = sorted((after.start - before.end for before, after in pairwise(spans)), reverse=True)
    gap = max(GAP, gaps[RUNS_MAX - 1]) if len(gaps) >= RUNS_MAX else GAP
    found: list[tuple[Span, list[Span]]] = []
    for span in spans:
        run = found[-1][0] if found else span
        if found and 0 <= span.start - run.end <= gap:
            found[-1] = Span(run.start, span.end), [*found[-1][1], span]
        else:
            found.append((span, [span]))
    return found


def skip(stream: BinaryIO, size: int) -> None:
    """Leave out so many bytes."""
    if size and stream.seekable():
        stream.seek(size, 1)
        return
    for _ in _pieces(stream, size):
        pass
