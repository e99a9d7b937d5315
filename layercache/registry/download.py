"""A blob on its way from a registry: a stream that goes on where it broke off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from urllib3.exceptions import HTTPError

from layercache.errors import DigestMismatchError, SourceError
from layercache.registry.ranges import PART_MIN, RANGE_TRIES, close
from layercache.registry.read_ahead import Ahead, has_arrived, is_long, is_slow
from layercache.registry.transport_errors import reason
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    import threading
    from types import TracebackType

    from _typeshed import WriteableBuffer
    from urllib3.response import BaseHTTPResponse

    from layercache.registry.ranges import Blob, Part
    from layercache.registry.retry import Retries
    from layercache.statistics.places import Place

READ_SIZE = 256 << 10
"""Bytes of one read at most: the fastest in measurements, and what a break can lose."""

FIRST_READ = 32 << 10
"""Bytes of the first read of a blob that has more than `READ_SIZE`, which somebody may be waiting for."""


class Way(Protocol):
    """Access to the bytes of one blob."""

    @property
    def slots(self) -> threading.Semaphore:
        """Limits how many ranges are read ahead."""

    def open_at(self, offset: int, *, ranges: bool = True) -> Part:
        """The bytes from an offset on, by a range if ``ranges``; tried again where that may help."""

    def open_range(self, begin: int, end: int) -> BaseHTTPResponse | None:
        """Exactly these bytes from the place that was last asked, in one try; None where others come."""

    @property
    def place(self) -> Place:
        """Where the last bytes came from."""

    def refute(self, error: DigestMismatchError) -> bool:
        """As `Refutable.refute`."""


class BlobReader:
    """The wanted bytes of a blob from an offset on.

    A body that breaks off, falls silent, ends early or is only a part is asked for again from where it was,
    up to ``retries`` times without `PART_MIN` bytes of progress; as often, it may also be sent from its
    start. After that it is a `SourceError`. More bytes than stated are a `DigestMismatchError`. The reader
    checks the hash, and calls ``refute`` if it was wrong.

    Where one connection turns out to be slow, the rest comes by several (`Ahead`).
    """

    def __init__(self, blob: Blob, start: int, way: Way, retries: Retries) -> None:
        self._blob = blob
        self._offset = start
        self._way = way
        self._retries = retries
        self._breaks = 0
        self._restarts = 0
        self._gained = 0
        self._begun = start
        self._waited = 0.0
        self._ahead: Ahead | None = None
        self._may_run_ahead = True
        self._part: Part | None = None
        self._at = 0
        self.size: int = max(0, blob.stop - start)
        self._stop = start + self.size
        if self.size:
            self._open()

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(READ_SIZE), b""))
        left = self._stop - self._offset
        if not size:
            return b""
        if not left:
            self._end()
            return b""
        data = self._read_ahead(size) if self._ahead is not None else b""
        is_first = self._offset == self._begun and left > READ_SIZE
        data = data or self._read_on(min(size, left, FIRST_READ if is_first else READ_SIZE))
        self._offset += len(data)
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        # urllib3's own readinto makes the same copy, a tenth of the time that the bytes need on loopback.
        view = memoryview(buffer).cast("B")
        part = self.read(len(view))
        view[: len(part)] = part
        return len(part)

    @property
    def place(self) -> Place:
        return self._way.place

    def refute(self, error: DigestMismatchError) -> bool:
        """As `Refutable.refute`."""
        return self._way.refute(error)

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._close_part()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _read_on(self, size: int) -> bytes:
        """The next bytes by one connection."""
        while self._part is not None:
            problem = "the stream ended"
            before = min(self._offset - self._at, READ_SIZE)  # bytes that had come, and are read past
            wanted = before or min(size, self._part.end - self._at)
            waits = self._waits_for(self._part.body, wanted)
            begun = time.monotonic()
            try:
                data = self._part.body.read(wanted)
            except (HTTPError, OSError) as error:
                data, problem = b"", reason(error)
            self._at += len(data)
            if not data:
                self._resume(problem if wanted else "")
            elif not before:
                self._waited += time.monotonic() - begun if waits else 0.0
                self._note_progress(len(data))
                return data
        raise ValueError("read of a closed blob")

    def _waits_for(self, body: BaseHTTPResponse | BytesReader, count: int) -> bool:
        """Whether to read so many bytes is to wait for a connection that may turn out to be slow."""
        if isinstance(body, BytesReader) or not (self._may_run_ahead and is_long(self._stop - self._offset)):
            return False
        return not has_arrived(body, count)

    def _note_progress(self, count: int) -> None:
        self._gained += count
        if self._gained >= PART_MIN:
            self._breaks = 0
        offset = self._offset + count
        left = self._stop - offset
        if self._may_run_ahead and is_slow(offset - self._begun, left, self._waited):
            self._ahead = Ahead(offset, self._stop, self._way.open_range, self._way.slots)

    def _read_ahead(self, size: int) -> bytes:
        """The next bytes by several connections; none where that has ended, and one goes on."""
        assert self._ahead is not None
        if data := self._ahead.read(size):
            self._close_part()
            return data
        self._may_run_ahead = not self._ahead.refused
        self._ahead.close()
        self._ahead = None
        self._begun, self._waited = self._offset, 0.0
        if self._part is None:
            self._open()
        return b""

    def _open(self, *, ranges: bool = True) -> None:
        self._part = self._way.open_at(self._offset, ranges=ranges)
        self._at = self._part.begin

    def _resume(self, problem: str) -> None:
        """Ask for what follows; ``problem`` is empty where a part was all that was promised."""
        self._close_part()
        if problem:
            if self._breaks >= self._retries.count:
                raise self._failure(f"broke off {self._breaks + 1} times", problem)
            self._retries.wait(self._breaks)
            self._breaks += 1
        self._gained = 0
        self._open(ranges=self._breaks <= RANGE_TRIES)
        self._restarts += self._at < self._offset
        if self._restarts > self._retries.count:
            self._close_part()
            raise self._failure(f"broke off {self._restarts} times", "it was sent from its start each time")

    def _failure(self, what: str, problem: str) -> SourceError:
        blob = self._blob
        return SourceError(f"{blob.where} {what} at byte {self._offset} of {blob.size}: {problem}")

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            close(part.body)

    def _end(self) -> None:
        """Let the connection be used again; what goes on beyond the stated size is not what was asked for."""
        part, self._part = self._part, None
        self.close()
        if part is None:
            return
        if part.end > self._stop:  # more comes than was wanted: the connection is given up
            close(part.body)
            return
        try:
            # Where the server has stated a length, its connection gives no more than that.
            more = b"" if getattr(part.body, "length_remaining", None) == 0 else part.body.read(1)
        except (HTTPError, OSError):
            more = b""  # everything asked for has arrived
        close(part.body)
        if more:
            raise DigestMismatchError(
                f"{self._blob.where} goes on after the {self._stop} bytes that are stated for it"
            )
