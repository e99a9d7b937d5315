"""The rest of a big blob as several closed ranges that are on their way at once, for a slow connection.

Registries and the stores behind them often give one connection a few megabytes a second, and another one
as many again.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from urllib3.exceptions import HTTPError

from layercache.errors import LayercacheError
from layercache.registry.http import abandon, discard

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

RANGE = 8 << 20
"""Bytes of one range."""

RANGES_AHEAD = 4
"""Ranges of one blob in flight, or in memory waiting for the reader."""

SLOTS = 8
"""The same for all blobs of a client: with `RANGE`, the bound of their memory and of their connections."""

SLOW = 50e6
"""Bytes a second below which one connection is slow."""

LOOK = 0.25
"""Seconds of waiting for bytes after which the rate is significant."""

ATTEMPTS_PER_RANGE = 3
"""Maximum requests for one range; each goes on where the one before broke off."""

READ_SIZE = 256 << 10


def is_slow(read: int, left: int, waited: float) -> bool:
    """Whether one connection is slow while many bytes are left.

    Only time spent waiting for bytes counts, so a slow reader does not make a connection slow.
    """
    return waited >= LOOK and read < SLOW * waited and is_long(left)


def is_long(left: int) -> bool:
    """Whether so many bytes are worth several connections."""
    return left > 2 * RANGE


def has_arrived(body: BaseHTTPResponse, count: int) -> bool:
    """Whether so many bytes of a body have reached this machine. False where that is not known.

    Then to read them is not to wait for the connection, however long it takes: among a hundred threads,
    whoever reads waits for the interpreter's lock. TLS adds a few bytes to those that count.
    """
    sock = getattr(body.connection, "sock", None)
    if sys.platform == "win32" or sock is None:
        return False
    from fcntl import ioctl
    from termios import FIONREAD

    try:
        arrived = ioctl(sock, FIONREAD, bytes(4))
    except (OSError, ValueError):  # another thread has closed it: the read itself says so
        return False
    return int.from_bytes(arrived, sys.byteorder) >= count


class OpenRange(Protocol):
    """Asks for exactly the bytes from ``begin`` to ``end``, once; None where something else comes."""

    def __call__(self, begin: int, end: int, /) -> BaseHTTPResponse | None: ...


class _Range:
    def __init__(self, begin: int, end: int) -> None:
        self.next = begin
        self.end = end
        self.pieces: deque[bytes] = deque()
        self.over = False


class Ahead:
    """Bytes ``begin`` to ``end`` of a blob, in order; each range is fetched by its own thread.

    It ends early, after the bytes that came in order, where no ``slots`` are free, and for good (``refused``)
    at the first answer that is not the range that was asked for, or at the third break of one range. The
    caller then goes on by one connection.

    One lock guards all of it. A thread holds it only to hand over a piece; it wakes the reader, which waits
    for the first range alone. A range keeps its slot until the reader has had all of it, or, when this is
    closed, until its thread has ended.
    """

    def __init__(self, begin: int, end: int, open_range: OpenRange, slots: threading.Semaphore) -> None:
        self._starts = deque(range(begin, end, RANGE))
        self._end = end
        self._open_range = open_range
        self._slots = slots
        self._changed = threading.Condition()
        self._ranges: deque[_Range] = deque()
        self._closed = False
        self.refused = False

    def read(self, size: int) -> bytes:
        """At most ``size`` of the next bytes; none where this has ended."""
        with self._changed:
            self._begin()
            while self._ranges:
                first = self._ranges[0]
                while not first.pieces and not first.over:
                    self._changed.wait()
                if first.pieces:
                    return _taken(first.pieces, size)
                if first.next < first.end:
                    return b""
                self._ranges.popleft()
                self._slots.release()
                self._begin()
            return b""

    def close(self) -> None:
        """Have done with it. Does not wait for the threads, which end at their next piece."""
        with self._changed:
            self._closed = True
            for each in self._ranges:
                if each.over:
                    self._slots.release()
            self._ranges.clear()

    def _begin(self) -> None:
        """Begin as many ranges as there may be, in order."""
        while (
            self._starts
            and not self.refused
            and len(self._ranges) < RANGES_AHEAD
            and self._slots.acquire(blocking=False)
        ):
            start = self._starts.popleft()
            each = _Range(start, min(start + RANGE, self._end))
            thread = threading.Thread(target=self._bring, args=(each,), name="layercache range", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads are to be had
                self._slots.release()
                self.refused = True
                return
            self._ranges.append(each)

    def _bring(self, each: _Range) -> None:
        try:
            for _ in range(ATTEMPTS_PER_RANGE):
                response = self._open_range(each.next, each.end)
                if response is None or self._drained(response, each):
                    break
        except LayercacheError:
            pass  # the caller asks again, and reports the error
        finally:
            with self._changed:
                each.over = True
                if each.next < each.end:
                    self.refused = True
                if self._closed:
                    self._slots.release()
                self._changed.notify_all()

    def _drained(self, response: BaseHTTPResponse, each: _Range) -> bool:
        """Hand the bytes over as they arrive; return whether the range is done."""
        try:
            while each.next < each.end and (piece := response.read(min(READ_SIZE, each.end - each.next))):
                with self._changed:
                    if self._closed:
                        break
                    each.pieces.append(piece)
                    each.next += len(piece)
                    self._changed.notify_all()
        except (HTTPError, OSError):
            pass  # the next attempt goes on from here
        whole = each.next == each.end
        discard(response) if whole else abandon(response)
        return whole or self._closed


def _taken(pieces: deque[bytes], size: int) -> bytes:
    piece = pieces.popleft()
    if len(piece) > size:
        pieces.appendleft(piece[size:])
        piece = piece[:size]
    return piece
