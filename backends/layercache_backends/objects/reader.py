"""Reading from a service: one stream that continues after an interruption, or parallel ranges."""

from __future__ import annotations

import asyncio
import io
import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from layercache_backends.objects.deadline import Deadline
from layercache_backends.objects.service import Failure, Kind

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import WriteableBuffer

    from layercache_backends.objects.service import Body, Service
    from layercache_backends.objects.session import Session

PIECE = 1 << 20
"""Maximum bytes passed from the event loop at once."""

RANGE = 8 << 20
"""Bytes of one parallel range."""

AHEAD = 8
"""Ranges in flight or waiting for the reader; with `RANGE`, this limits its memory."""

SLOW = 100e6
"""Bytes per second below which a connection is slow."""

SMALL = 64 << 10
"""Bytes of an object that is read completely when it is opened."""

LOOK = 0.25
"""Seconds of waiting for bytes after which the rate is significant."""


class Stream:
    """Bytes ``start`` to ``end`` of one version of an object, in order. On the event loop.

    ``spent``: seconds already waited for these bytes elsewhere; ``version``: the only version to read, as in
    `Body`; None: the current one.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        doing: str,
        start: int,
        end: int | None,
        *,
        spent: float = 0.0,
        version: str | None = None,
    ) -> None:
        self.session = session
        self.name = name
        self.doing = doing
        self.position = start
        self.end = end
        self.version = version
        self.modified: float | None = None
        """As in `Body`, once it is open."""
        self.waited = 0.0
        """Seconds spent waiting for bytes."""
        self._body: Body | None = None
        self._patience = Deadline(session.timeout, spent)

    async def open(self) -> int:
        """Start reading, and return the number of bytes. Raises `NotFoundError`, `BackendError`."""
        body = await self.session.insist(self.doing, self._get, self._patience)
        self.end = self.position + (body.size if body else 0)
        return self.end - self.position

    async def read(self, size: int) -> list[bytes]:
        """Return at most ``size`` of the next bytes, in pieces; none at the end."""
        assert self.end is not None
        pieces: list[bytes] = []
        wanted = min(size, self.end - self.position)
        clock = asyncio.get_running_loop().time
        while wanted:
            began = clock()
            piece = await self.session.insist(self.doing, partial(self._some, size=wanted), self._patience)
            self.waited += clock() - began
            self._patience.progress()
            self.position += len(piece)
            wanted -= len(piece)
            pieces.append(piece)
        if self.position >= self.end:
            self.close()
        return pieces

    def close(self) -> None:
        body, self._body = self._body, None
        if body:
            body.close()

    async def _get(self, service: Service) -> Body | None:
        """Request the rest; None if the range is past the end."""
        if self.end is not None and self.position >= self.end:
            await service.head(self.name)
            return None
        try:
            body = await service.get(self.name, self.position, self.end, self.version)
        except Exception as error:
            failure = service.failure(error)
            if failure and failure.kind is Kind.PAST_END and self.version is None:
                return None
            raise
        self._body = body
        self.modified = body.modified
        if body.start != self.position:
            self.close()
            raise self.session.error(self.doing, _IGNORED)
        if self.version is None:
            self.version = body.version
        elif not self.version or body.version != self.version:
            self.close()
            raise self.session.error(self.doing, CHANGED)
        return body

    async def _some(self, service: Service, size: int) -> bytes:
        try:
            body = self._body or await self._get(service)
            if body is None:
                raise self.session.error(self.doing, CHANGED)
            if piece := await body.read(size):
                return piece
            raise ConnectionResetError("the response ended too early")
        except BaseException:
            self.close()
            raise


class Prefetcher:
    """The rest of a stream, read as parallel ranges. On the event loop."""

    def __init__(self, stream: Stream) -> None:
        assert stream.end is not None
        self._stream = stream
        self._starts = iter(range(stream.position, stream.end, RANGE))
        self._ranges: deque[asyncio.Task[deque[bytes]]] = deque()
        self._pieces: deque[bytes] = deque()

    async def read(self, size: int) -> list[bytes]:
        """As `Stream.read`."""
        self._begin()
        if not self._pieces and self._ranges:
            self._pieces = await asyncio.shield(self._ranges[0])
            self._ranges.popleft()
            self._begin()
        pieces = []
        while self._pieces and size:
            piece = self._pieces.popleft()
            if len(piece) > size:
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            pieces.append(piece)
            size -= len(piece)
        return pieces

    def close(self) -> None:
        for task in self._ranges:
            task.cancel()
            task.add_done_callback(_seen)
        self._ranges.clear()
        self._pieces.clear()
        self._starts = iter(range(0))

    def _begin(self) -> None:
        # The reader's current range counts too: it still takes memory.
        while (
            len(self._ranges) + bool(self._pieces) < AHEAD and (start := next(self._starts, None)) is not None
        ):
            self._ranges.append(asyncio.create_task(self._whole(start)))

    async def _whole(self, start: int) -> deque[bytes]:
        whole = self._stream
        assert whole.end is not None
        part = Stream(whole.session, whole.name, whole.doing, start, min(start + RANGE, whole.end))
        part.version = whole.version
        try:
            return deque(await part.read(RANGE))
        finally:
            part.close()


class ObjectReader(io.RawIOBase):
    """Reads a stream that is not open yet; not seekable. Belongs to the process that opened it.

    ``slow``: a connection is already known to be slow. While the caller processes one piece, the next is
    fetched, so that the caller does not wait for the other thread.
    """

    def __init__(self, stream: Stream, *, slow: bool = False) -> None:
        self._session = stream.session
        self._source: Stream | Prefetcher | None = stream
        self._coming: Future[list[bytes]] | None = None
        self._pieces: deque[memoryview] = deque()
        self._found_slow = slow
        self.size = self._left = self._session.call(self._open(stream))
        self.modified = stream.modified
        self.version = stream.version or ""
        """As in `Body`: of the object that is read."""
        self._fetch()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as octets:
            count = 0
            for piece in self._next(len(octets)):
                octets[count : count + len(piece)] = piece
                count += len(piece)
        return count

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            return b"".join(self._next(size))
        pieces: list[memoryview] = []
        while some := self._next(PIECE):
            pieces += some
        return b"".join(pieces)

    def close(self) -> None:
        """Cancel what is in flight, without waiting, so a finalizer may call this in any thread."""
        source, self._source = self._source, None
        coming, self._coming = self._coming, None
        self._pieces.clear()
        if coming and self._session.owner == os.getpid():
            coming.cancel()
        if source:
            self._session.soon(source.close)
        super().close()

    async def _open(self, stream: Stream) -> int:
        size = await stream.open()
        if size <= SMALL:
            self._pieces.extend(map(memoryview, await stream.read(size)))
        return size

    def _next(self, size: int) -> list[memoryview]:
        """Return at most ``size`` of the next bytes; none at the end."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        size = min(size, self._left)
        if size and not self._pieces:
            assert self._coming is not None
            # A failure is permanent: bytes before it in the same piece are lost, so reading cannot continue.
            pieces = self._session.wait(self._coming)
            self._coming = None
            self._pieces.extend(map(memoryview, pieces))
            self._fetch()
        found = []
        while size and self._pieces:
            piece = self._pieces.popleft()
            if len(piece) > size:
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            found.append(piece)
            size -= len(piece)
            self._left -= len(piece)
        return found

    def _fetch(self) -> None:
        """Start fetching the next piece, if there is one."""
        if self._left > sum(map(len, self._pieces)):
            self._coming = self._session.start(self._read(PIECE))

    async def _read(self, size: int) -> list[bytes]:
        assert self._source is not None
        pieces = await self._source.read(size)
        if isinstance(self._source, Stream) and self._should_run_ahead(self._source):
            stream, self._source = self._source, Prefetcher(self._source)
            stream.close()
        return pieces

    def _should_run_ahead(self, stream: Stream) -> bool:
        assert stream.end is not None
        left = stream.end - stream.position
        waited = max(stream.waited, LOOK) if self._found_slow else stream.waited
        return is_slow((self.size or 0) - left, left, waited) and bool(stream.version)


def is_slow(read: int, left: int, waited: float) -> bool:
    """Whether a connection is slow and much is left.

    Only the time spent waiting for bytes counts, so a slow reader does not make a connection slow.
    """
    return waited >= LOOK and read < SLOW * waited and left > 2 * RANGE


CHANGED = Failure(Kind.FINAL, "it was replaced or deleted while it was read", "read it again from its start")
_IGNORED = Failure(
    Kind.FINAL,
    "the service did not send the requested range",
    "a proxy in between may not support Range requests",
)


def _seen(task: asyncio.Task[deque[bytes]]) -> None:
    """Retrieve the error of a cancelled range, or asyncio logs a warning."""
    if not task.cancelled():
        task.exception()
