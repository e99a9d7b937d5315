"""A backend: a store of named objects behind a URL. The interface that others implement.

A backend moves bytes. It never hashes, inflates or knows OCI. What a backend promises:

- What `Sink.commit` publishes appears whole or not at all, also when the process is killed, and a later
  ``open``, ``stat`` or ``scan`` sees it. Nothing of an aborted or killed write is ever visible by name.
- Publishing under a name that is taken replaces the object whole and refreshes its time: the last
  writer wins.
- Absence is `NotFoundError` and never a guess. A refused connection, a missing permission, an answer that
  the service did not give are `BackendError`, with the cause kept.
- Methods are thread-safe. A forked child gets fresh clients and never commits, aborts or flushes a sink of
  its parent.

What only some can do is in `layercache.backend.capabilities`.
`layercache.testing.BackendContract` checks all of it; subclass it in your tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer


SMALL_OBJECT = 64 << 10
"""Bytes of a fact, or of what a tag names, at most: a bigger object is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its key, its size in bytes, when it was last published (seconds since the epoch)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an unfinished write takes up. ``began``: when it did, or was last written to, in seconds since the
    epoch by the store's clock; ``size``: bytes, None where the store does not state them.
    """

    began: float
    size: int | None = None


class Reader(Protocol):
    """The bytes of an object, or of a range of it, in order."""

    @property
    def size(self) -> int | None:
        """How many bytes this reader gives in all. A backend always knows; a source may not: None."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer's start; how many bytes it took. 0 only at the end, or for an empty buffer."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, all that is left for -1. Empty only at the end, or when asked for 0."""

    def seekable(self) -> bool:
        """Whether ``seek`` and ``tell`` are there and work as those of `io.IOBase`."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Sink(Protocol):
    """An object being written. It appears with ``commit``, whole; without, never.

    Leaving the ``with`` block without ``commit()`` aborts, whatever the reason. ``commit`` and ``abort``
    end the sink; another ``abort`` is no error, a ``write`` or ``commit`` after the end is `BackendError`.
    """

    def write(self, data: ReadableBuffer, /) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Backend(Protocol):
    """A store of named objects. Keys match the grammar of `check_key`; the core sees to that."""

    @property
    def url(self) -> str:
        """How this store is named in messages and statistics. Holds no secret."""

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        """Read bytes ``start`` to ``end`` (exclusive; None: to the end of the object).

        What lies past the object's end is not there: such a range is short or empty, never an error.
        Raises `NotFoundError` now, not at the first read; `ValueError` unless 0 <= start <= end.
        """

    def create(self, key: str) -> Sink:
        """Begin to write an object."""

    def stat(self, key: str) -> Entry:
        """The object's size and time. Raises `NotFoundError`."""

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Every object below a folder (a prefix that ends in "/"), or all; lazily, in any order."""

    def delete(self, key: str) -> None:
        """Remove the object. Deleting what is not there is no error."""

    def close(self) -> None:
        """Give back connections and handles. Closing twice is no error."""


def check_range(start: int, end: int | None) -> None:
    """Raise `ValueError` unless 0 <= start <= end."""
    if start < 0 or (end is not None and end < start):
        raise ValueError(f"not a range: {start} to {end}")
