"""What only some backends can do: each a small protocol, which the core asks for with `isinstance`.

A backend has the methods if its store can keep their promises, and need not name the protocol. Where it has
not, the core does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache.backend import Leftover, Sink


class Spool(Protocol):
    """Bytes on their way that have no name yet: one writes them, many read them while they grow.

    ``publish`` makes an object of them, whole, under a key that is told only then; ``close`` gives back
    what they took (and discards them if they were not published). Not to be used in a forked child.
    """

    def write(self, data: ReadableBuffer, /) -> None: ...

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        """Read what was written, from ``offset``; how many bytes it took, 0 past the end. Thread-safe."""

    def publish(self, key: str) -> None:
        """Make it an object under this key. Durable as the backend's own ``commit`` is."""

    def close(self) -> None: ...


@runtime_checkable
class Stamped(Protocol):
    """A spool whose object can be changed in place, by other programs, and which can tell that it was."""

    def stamp(self) -> object:
        """What is another value once somebody has written into the bytes, or cut them."""


@runtime_checkable
class Spooler(Protocol):
    """A backend that can spool in its own store, so that publishing costs no second copy."""

    def spool(self) -> Spool: ...


@runtime_checkable
class Movable(Protocol):
    """A backend that can give an object another name, without reading it."""

    def move(self, key: str, to: str) -> None:
        """The object is under one of the names at every moment, whole. What had the new one is replaced.

        Raises `NotFoundError`.
        """


@runtime_checkable
class Expendable(Protocol):
    """A backend that writes small objects cheaper where a loss at a power cut would be no harm.

    Whole or not at all still holds while the machine runs; after a power cut such an object may be gone,
    empty or torn, so whoever reads it must be able to tell.
    """

    def create_expendable(self, key: str) -> Sink: ...


@runtime_checkable
class SmallObjects(Protocol):
    """A backend that reads all of a folder of small objects at less cost than one after the other."""

    def read_small(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """The key and the bytes of every object that `Backend.scan` would list; lazily, in any order.

        One of more than `layercache.backend.SMALL_OBJECT` bytes is passed over, without reading all of it.
        """


@runtime_checkable
class LocalPath(Protocol):
    """A backend whose objects are plain files."""

    def path(self, key: str) -> str:
        """Where the object is, or would be. Read it only: it is never changed after it is published."""


@runtime_checkable
class Touchable(Protocol):
    """A backend that refreshes an object's time cheaply, so that times tell what was used last.

    Its readers of whole objects have ``modified``, the time as it was when they were opened (seconds since
    the epoch), so that what is fresh need not be refreshed.
    """

    def touch(self, key: str) -> None:
        """Make the object's time that of now. One that is not there is no error, and is not made."""


class Lock(Protocol):
    """A lock that is held. It carries a note: what its holders tell each other, at most a few hundred bytes.

    A process that is killed lets go of the lock; the note stays as it was left. Where the file system knows
    no locks, nobody is kept out: a lock may only save work or keep a count.
    """

    def note(self) -> bytes:
        """What the last holder who left a note has left. Empty at first, and it may be torn or lost."""

    def leave_note(self, note: bytes) -> None: ...


@runtime_checkable
class Lockable(Protocol):
    """A backend whose users can exclude each other by a name, in all processes that share the store."""

    def lock(
        self, name: str, *, timeout: float | None = None, lasting: bool = True
    ) -> AbstractContextManager[Lock | None]:
        """Hold the lock of this name (one component of a key) inside the block.

        Waits, for ever with None, or until its holder has given no sign of life for ``timeout`` seconds:
        since it took the lock or left a note. Then gives None: it is held elsewhere. Not re-entrant, and
        other threads of this process are excluded as other processes are. Of a lock that is not ``lasting``
        nothing remains, nor of its note. Raises `BackendError`.
        """


@runtime_checkable
class Exclusive(Protocol):
    """A backend that can publish a small object only if its name is free, whoever else tries."""

    def create_new(self, key: str, data: bytes) -> bool:
        """Publish it unless the name is taken; whether it was published.

        Some services take the condition and ignore it, and an answer that was lost makes a second try find
        the first one's object. So it is to be tried, and may save work, no more.
        """


@runtime_checkable
class Leftovers(Protocol):
    """A backend in which a killed process leaves what nobody will see, and nobody else will remove."""

    def remove_leftovers(self, older_than: float) -> int:
        """Remove what writes that were killed have left and nobody will finish: begun more than so many
        seconds ago; how many. A writer that is still at work after that time fails and publishes nothing.
        """


@runtime_checkable
class CountedLeftovers(Protocol):
    """A backend of `Leftovers` that can list them: ``layercache stats`` and ``doctor`` report how many."""

    def leftovers(self) -> Iterable[Leftover]:
        """What unfinished writes take up, those of writers that are still at work among them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of ``layercache doctor``: what was looked at, in a word or two, what was found, what to do."""

    name: str
    detail: str
    result: Literal["ok", "warning", "failed"] = "ok"
    hint: str = ""


@runtime_checkable
class Diagnosable(Protocol):
    """A backend that knows what can be wrong with its store, beyond what is tried of any."""

    def diagnose(self) -> Iterator[Finding]:
        """Look at the store, without writing; some seconds at most. Raises `BackendError`."""
