"""A backend: a store of named objects behind a URL. This is the interface that stores implement.

A backend moves bytes. It never hashes, inflates or knows OCI. What a backend promises:

- What `Sink.commit` publishes appears completely or not at all, even if the process is killed, and a later
  ``open``, ``stat`` or ``scan`` sees it. Nothing of an aborted or killed write is ever visible by name.
- Publishing under an existing name replaces the object completely and refreshes its time: the last writer
  wins.
- A missing object is `NotFoundError`, and never a guess. A refused connection, a missing permission, a
  response of another server are `BackendError`, with the cause kept.
- Methods are thread-safe. A forked child gets fresh clients and never commits, aborts or flushes a sink of
  its parent.

`layercache.backend.capabilities` has what only some backends can do.
`layercache.testing.BackendContract` checks all of it; subclass it in your tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from layercache.errors import wrong_type
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer


SMALL_OBJECT = 64 << 10
"""Maximum bytes of an association or a tag; a bigger object is ignored."""


class Entry(Value, frozen=True):
    """One object: its key, its size in bytes, when it was last published (seconds since the epoch)."""

    key: str
    size: int
    modified: float


class Leftover(Value, frozen=True):
    """An unfinished write. ``began``: its start or last write, in seconds since the epoch by the store's
    clock; ``size``: bytes, None if the store does not report them.
    """

    began: float
    size: int | None = None


class Reader(Protocol):
    """The bytes of an object, or of a range of it, in order."""

    @property
    def size(self) -> int | None:
        """The total number of bytes of this reader. Backends always know it; for a source it may be None."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the start of the buffer; return how many bytes. 0 only at the end, or for an empty buffer."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, or the rest for -1. Empty only at the end, or for 0."""

    def seekable(self) -> bool:
        """Whether ``seek`` and ``tell`` exist and work as those of `io.IOBase`."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class RewindError(Exception):
    """The store has lost bytes of an object that is being written: the writer goes back to ``offset``.

    It writes the object's bytes from there on into the same sink, and commits.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(f"the store asks for the bytes from {offset} on again")
        self.offset = offset


class Sink(Protocol):
    """An object being written. It appears completely with ``commit``, and never without it.

    Leaving the ``with`` block without ``commit()`` aborts, for any reason. ``commit`` and ``abort`` close the
    sink; another ``abort`` is allowed, a ``write`` or ``commit`` after that raises `BackendError`.
    """

    def write(self, data: ReadableBuffer, /) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Backend(Protocol):
    """A store of named objects. The core only passes keys that `check_key` accepts."""

    @property
    def url(self) -> str:
        """The name of this store in messages and statistics. Contains no secret."""

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        """Read bytes ``start`` to ``end`` (exclusive; None: to the end of the object).

        A range beyond the object's end is short or empty, never an error.
        Raises `NotFoundError` now, not at the first read; `ValueError` unless 0 <= start <= end.
        """

    def create(self, key: str) -> Sink:
        """Start writing an object."""

    def stat(self, key: str) -> Entry:
        """Return the object's size and time. Raises `NotFoundError`."""

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Yield every object below a folder (a prefix that ends in "/"), or all; lazily, in any order."""

    def delete(self, key: str) -> None:
        """Delete the object. Deleting a missing object is not an error."""

    def close(self) -> None:
        """Release connections and handles. May be called twice."""


def check_range(start: int, end: int | None) -> None:
    """Raise `ValueError` unless 0 <= start <= end, `TypeError` for what are not whole numbers."""
    for offset in (start, end):
        if offset is not None and not isinstance(offset, int):
            raise wrong_type("an offset in bytes, a whole number", offset)
    if start < 0 or (end is not None and end < start):
        raise ValueError(f"not a range: {start} to {end}")
