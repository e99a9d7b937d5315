"""A base class that builds a backend from six small methods.

Subclass `PlainBackend` and implement what only the store knows: fetch, put, put_file, list, remove,
transient. The rest is here: readers that stay with one version of an object and never end early, sinks that
publish completely or not at all, errors that name the store, retries within a timeout, clients that a forked
child does not share with its parent (`PerProcess`).
"""

from __future__ import annotations

import io
import os
import random
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import (
    SMALL_OBJECT,
    Entry,
    PerProcess,
    SinkBase,
    check_prefix,
    check_range,
    check_usable,
    not_small,
)
from layercache.errors import BackendError, FormatError, LayercacheError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer

_T = TypeVar("_T")

__all__ = ["ConditionalPlainBackend", "PerProcess", "Piece", "PlainBackend", "PlainReader", "PlainSink"]

PIECE = 4 << 20
"""Bytes of one request of a reader, and bytes of an object that a sink holds in memory."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between retries: they double, and are drawn at random up to this value."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an object, and the object as it was when they were read.

    ``size``: bytes of the whole object. ``modified``: when it was last published, in seconds since the epoch.
    ``version``: a value that no other object of this name has (an ETag, a generation, a row number).
    """

    data: bytes
    size: int
    modified: float
    version: object


class PlainBackend(ABC):
    """A `layercache.backend.Backend`; subclasses implement the abstract methods.

    These may raise whatever the SDK raises: each error becomes a `BackendError` that names the store, the
    operation and the cause. While `transient` returns true, the call is repeated with growing pauses until
    ``timeout`` seconds have passed since its start. A call that hangs is not interrupted: give the SDK a
    timeout that is not longer, and disable its retries, or the two multiply.

    All methods are called from many threads at a time. A subclass implements capabilities
    (`layercache.backend.capabilities`) as further methods.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url = url
        self.timeout = timeout

    @abstractmethod
    def fetch(self, key: str, start: int, length: int, version: object | None) -> Piece | None:
        """Return at most ``length`` bytes from ``start``; None if the store reports that there is no object.

        Fewer bytes are fine, but at least one, except at or past the object's end, or if ``length`` is 0
        (which asks only for size, time and version). ``version``: the version to read; if the store cannot
        select it, return the current one: a `Piece` of another version is refused.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Publish a small object completely or not at all, and replace an existing one."""

    @abstractmethod
    def put_file(self, key: str, file: io.BufferedIOBase, size: int) -> None:
        """Publish the ``size`` bytes of a file completely or not at all, with bounded memory."""

    @abstractmethod
    def list(self, prefix: str) -> Iterable[Entry]:
        """Yield every object below ``prefix``, a folder that ends in "/", or empty for all; in any order."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Delete the object. A missing object is not an error."""

    def transient(self, error: Exception) -> bool:
        """Whether a retry may help. By default: lost connections and timeouts."""
        return isinstance(error, ConnectionError | TimeoutError)

    def describe(self, error: Exception) -> str:
        """Return an error of the SDK in one line, for the message."""
        return str(error) or type(error).__name__

    def close(self) -> None:  # noqa: B027  # many have nothing to give back
        """Release connections. May be called twice."""

    # What the core calls

    def open(self, key: str, start: int = 0, end: int | None = None) -> PlainReader:
        check_range(start, end)
        length = PIECE if end is None else min(PIECE, end - start)
        return PlainReader(self, key, start, end, self._fetch(key, start, length))

    def create(self, key: str) -> PlainSink:
        return PlainSink(self, key)

    def stat(self, key: str) -> Entry:
        piece = self._fetch(key, 0, 0)
        return Entry(key, piece.size, piece.modified)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        doing = f"listing {prefix or 'everything'}"
        # Nothing was returned before the first entry, so the listing can start again.
        entries, first = self.attempt(doing, lambda: _begin(self.list(prefix)))
        while first is not None:
            yield first
            try:
                first = next(entries, None)
            except Exception as error:
                raise self._failed(doing, error) from error

    def delete(self, key: str) -> None:
        self.attempt(f"deleting {key}", lambda: self.remove(key))

    def attempt(self, doing: str, work: Callable[[], _T]) -> _T:
        """Call with retries, while they may help and there is time. Raises `BackendError`."""
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return work()
            except LayercacheError:
                raise
            except Exception as error:
                left = began + self.timeout - time.monotonic()
                if left <= 0 or not self.transient(error):
                    raise self._failed(doing, error) from error
            time.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311  # no secret
            pause = min(2 * pause, LONGEST_PAUSE)

    def _fetch(self, key: str, start: int, length: int) -> Piece:
        piece = self.attempt(f"reading {key}", lambda: self.fetch(key, start, length, None))
        if piece is None:
            raise NotFoundError(f"{key} does not exist", looked_in=(self.url,))
        return piece

    def _failed(self, doing: str, error: Exception) -> BackendError:
        if isinstance(error, BackendError):
            return error
        return BackendError(f"{self.url}: {doing}: {self.describe(error)}")


class ConditionalPlainBackend(PlainBackend):
    """A `PlainBackend` whose store can compare and write in one step: it is `Conditional` and `Exclusive`.

    The versions of its pieces are strings.
    """

    @abstractmethod
    def put_if(self, key: str, data: bytes, version: str | None) -> bool:
        """Publish if the object has this version (None: if there is none); return whether that was done."""

    def honours_conditions(self) -> bool:
        """As `Conditional.honours_conditions`. Override it if the store may ignore conditions."""
        return True

    def create_new(self, key: str, data: bytes) -> bool:
        return self.write_if(key, data, None)

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        doing = f"{self.url}: reading {key}"
        with self.open(key) as reader:
            if reader.size > SMALL_OBJECT:
                raise not_small(doing)
            if not isinstance(reader.version, str):
                raise BackendError(f"{doing}: the store has no versions of objects")
            return reader.read(), reader.version

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        """As `Conditional.write_if`. No bytes leave an empty object."""
        sent = False

        def put() -> bool:
            nonlocal sent
            before, sent = sent, True
            # A write that was done, and whose response was lost, is refused when it is sent again.
            return self.put_if(key, data, version) or (before and self._is_there(key, data))

        return self.attempt(f"writing {key}", put)

    def _is_there(self, key: str, data: bytes) -> bool:
        try:
            return self.read_versioned(key)[0] == data
        except (NotFoundError, FormatError):
            return False


class PlainReader(io.RawIOBase):
    """The bytes of one version of an object, fetched piece by piece."""

    def __init__(self, backend: PlainBackend, key: str, start: int, end: int | None, first: Piece) -> None:
        size = first.size
        self.size = max(0, (size if end is None else min(end, size)) - start)
        self.modified = first.modified
        self.version = first.version
        self._backend = backend
        self._key = key
        self._at = start
        self._end = start + self.size
        self._rest = memoryview(b"")
        self._take(first)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer).cast("B") as view:
            if not self._rest and view and self._at < self._end:
                self._take(self._next())
            count = min(len(view), len(self._rest))
            view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _next(self) -> Piece:
        length = min(PIECE, self._end - self._at)
        fetch, version = self._backend.fetch, self.version
        doing = f"reading {self._key}"
        piece = self._backend.attempt(doing, lambda: fetch(self._key, self._at, length, version))
        if piece is None or piece.version != version:
            raise self._error("the object was replaced or removed")
        return piece

    def _take(self, piece: Piece) -> None:
        due = min(PIECE, self._end - self._at)
        if len(piece.data) > due or (due and not piece.data):
            raise self._error(f"expected up to {due} bytes from byte {self._at}, found {len(piece.data)}")
        self._at += len(piece.data)
        self._rest = memoryview(piece.data)

    def _error(self, what: str) -> BackendError:
        return BackendError(f"{self._backend.url}: reading {self._key}: {what}")


class PlainSink(SinkBase):
    """Collects bytes in memory, or in a temporary file from `PIECE` bytes on, until they are complete."""

    def __init__(self, backend: PlainBackend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._owner = os.getpid()
        self._memory: bytearray | None = bytearray()
        self._file: io.FileIO | None = None

    def write(self, data: ReadableBuffer, /) -> None:
        memory = self._open()
        with memoryview(data) as view, view.cast("B") as octets:
            if self._file is None and len(memory) + len(octets) <= PIECE:
                memory += octets
                return
            if self._file is None:
                # Unbuffered, so that a forked child has nothing to flush.
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by `_end`
                _write(self._file, memory)
                memory.clear()
            _write(self._file, octets)

    def commit(self) -> None:
        memory, file = self._open(), self._file
        try:
            if file is None:
                data = bytes(memory)
                self._publish(lambda: self._backend.put(self._key, data))
            else:
                self._publish(lambda: self._put_file(file))
        finally:
            self._end()

    def abort(self) -> None:
        """Discard the bytes. The store has none of them, so it is not contacted."""
        if self._owner == os.getpid():
            self._end()

    def _publish(self, work: Callable[[], None]) -> None:
        self._backend.attempt(f"writing {self._key}", work)

    def _put_file(self, file: io.FileIO) -> None:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with os.fdopen(os.dup(file.fileno()), "rb") as buffered:
            self._backend.put_file(self._key, buffered, size)

    def _open(self) -> bytearray:
        what, memory = f"{self._backend.url}: writing {self._key}", self._memory
        check_usable(what, self._owner, ended=memory is None)
        assert memory is not None, "only an ended write has none"
        return memory

    def _end(self) -> None:
        self._memory = None
        if self._file is not None:
            self._file.close()


def _begin(entries: Iterable[Entry]) -> tuple[Iterator[Entry], Entry | None]:
    iterator = iter(entries)
    return iterator, next(iterator, None)


def _write(file: io.FileIO, data: ReadableBuffer) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += file.write(view[done:]) or 0
