"""Reading with obstore while it succeeds; after that an `ObjectReader` continues at the same byte."""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING, Any

from layercache.errors import BackendError
from layercache_backends.objects.reader import PIECE, SMALL, ObjectReader, Stream, is_slow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache_backends.objects.session import Session

CHUNK = 64 << 10
"""Minimum bytes of a chunk; a chunk that is incomplete when the connection breaks is fetched again."""


class DirectReader(io.RawIOBase):
    """As `ObjectReader`. ``answer`` is obstore's response; it includes the bytes of a small object.

    ``version_key``: the key of the object's metadata that distinguishes its versions.
    """

    def __init__(
        self, session: Session, answer: Any, name: str, doing: str, start: int, version_key: str
    ) -> None:
        self._session = session
        self._name = name
        self._doing = doing
        self.version = answer.meta[version_key] or ""
        self.modified: float | None = answer.meta["last_modified"].timestamp()
        self._position = start
        """The offset of the first byte that has not arrived."""
        self._waited = 0.0
        self._stream: Iterator[Any] = iter(())
        self._chunk = memoryview(b"")
        self._other: ObjectReader | None = None
        begins, self._end = answer.range
        if begins != start:
            raise BackendError(f"{session.url}: {doing}: the response is not the requested range")
        self.size = self._end - start
        if self.size > SMALL:
            self._stream = answer.stream(CHUNK)
        else:
            self._came(answer.bytes())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as octets:
            piece = self._next(len(octets))
            octets[: len(piece)] = piece
            return len(piece)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            return bytes(self._next(size))
        pieces = []
        while piece := self._next(PIECE):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Cancel what is in flight. In a forked child, leave the parent's objects alone."""
        if self._session.owner == os.getpid():
            self._stream = iter(())
            self._chunk = memoryview(b"")
            if self._other:
                self._other.close()
        super().close()

    def _next(self, size: int) -> memoryview | bytes:
        """Return at most ``size`` of the next bytes; none at the end."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if size and not self._chunk and not self._other and self._position < self._end:
            self._fetch()
        if self._other and not self._chunk:
            return self._other.read(size)
        piece, self._chunk = self._chunk[:size], self._chunk[size:]
        return piece

    def _fetch(self) -> None:
        """Wait for the next chunk, or switch to another reader for the rest."""
        if self._session.owner != os.getpid():
            raise self._session.foreign()
        began = time.monotonic()
        try:
            self._came(next(self._stream))
        except Exception:  # broken, silent, ended too early: the other reader retries, and reports why
            self._go_on(spent=time.monotonic() - began)
            return
        self._waited += time.monotonic() - began
        left = self._end - self._position
        if self.version and is_slow(self.size - left, left, self._waited):
            self._go_on(slow=True)

    def _came(self, data: ReadableBuffer) -> None:
        self._chunk = memoryview(data)
        self._position += len(self._chunk)

    def _go_on(self, *, spent: float = 0.0, slow: bool = False) -> None:
        """Read the rest with a reader that retries, and reads parallel ranges."""
        self._stream = iter(())
        rest = Stream(
            self._session,
            self._name,
            self._doing,
            self._position,
            self._end,
            spent=spent,
            version=self.version,
        )
        self._other = ObjectReader(rest, slow=slow)
