"""Streams that a program gives us: a file to put, and what its own registry client fetches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, cast

from layercache.streams.readers import WrappingReader

if TYPE_CHECKING:
    from layercache.backend import Reader


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


class BorrowedReader(WrappingReader):
    """A binary stream that stays its giver's: it is read, and not closed.

    ``close`` gives it back: it waits for the read that another thread is in, and no other begins.
    """

    def __init__(self, file: _Readable) -> None:
        super().__init__(cast("Reader", file))  # of all that a reader has, only ``read`` is used
        self._lock = threading.Lock()
        self._given_back = False

    def read(self, size: int = -1, /) -> bytes:
        with self._lock:
            if self._given_back:
                raise ValueError("read of a stream that was given back")
            data = self._raw.read(size)
        if data is None:
            raise BlockingIOError("the stream has no bytes yet, and does not wait for them")
        return data

    def close(self) -> None:
        with self._lock:
            self._given_back = True
