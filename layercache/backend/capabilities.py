"""Capabilities that only some backends have: small protocols, which the core detects with `isinstance`.

A backend implements the methods if its store can keep their promises, and need not name the protocol.
Otherwise the core works without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Protocol, runtime_checkable

    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache.backend import Leftover, Sink
else:
    # Protocols to type checkers. At run time Python's own would look for the methods at each isinstance(),
    # which takes 15 us in Python 3.11, and opening a tier asks twenty times. From Python 3.12 on it imports
    # `inspect` for that, which takes as long as the interpreter's start.

    class _Kind(type):
        def runtime_checkable(cls: Any) -> Any:
            """Let ``isinstance`` look for the methods that the class names."""
            cls._methods = tuple(name for name in vars(cls) if not name.startswith("_"))
            return cls

        def __instancecheck__(cls, instance: object) -> bool:
            methods = cls.__dict__.get("_methods")
            if methods is None:  # a class that inherits from a capability
                return super().__instancecheck__(instance)
            return all(getattr(instance, each, None) is not None for each in methods)

    class Protocol(metaclass=_Kind):
        """What a class must have, whether or not it inherits from this."""

    runtime_checkable = _Kind.runtime_checkable


class Spool(Protocol):
    """Unfinished bytes without a name: one thread writes them, many read them while they grow.

    ``publish`` turns them into a complete object, under a key that is given only then; ``close`` releases the
    space (and discards them if they were not published). Not usable in a forked child.
    """

    def write(self, data: ReadableBuffer, /) -> None: ...

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        """Read written bytes from ``offset``; return their number, 0 past the end. Thread-safe."""

    def publish(self, key: str) -> None:
        """Publish as an object under this key, as durably as the backend's ``commit``."""

    def close(self) -> None: ...


@runtime_checkable
class Stamped(Protocol):
    """A spool whose object other programs can change in place, and which detects that."""

    def was_changed(self) -> bool:
        """Whether somebody may have overwritten or truncated the bytes since they were published.

        It compares with what the spool noted before the object had its name: later, others could reach it.
        """


@runtime_checkable
class Spliced(Protocol):
    """A spool in a file, whose bytes need not pass through this process on their way into a pipe."""

    def splice_to(self, pipe: int, offset: int, size: int, /) -> int:
        """Put written bytes from ``offset`` into a pipe, without waiting; return their number.

        0 where none can be put there now, whatever the reason: then they are to be read and written.
        Thread-safe.
        """


@runtime_checkable
class CopyingReader(Protocol):
    """A reader of a file, whose bytes need not pass through this process on their way to another file.

    Used where a trusted folder is read as it stands. Readers of plug-ins are guarded, and do not offer it.
    """

    def copy_to(self, target: int, position: int, size: int, /) -> int:
        """Write the next bytes, ``size`` at most, to a position of an open file; return how many.

        0 only at the end, or for no bytes. Raises `BackendError` as reading does, `OSError` as writing does.
        """


@runtime_checkable
class Spooler(Protocol):
    """A backend that can spool in its own store, so that publishing costs no second copy."""

    def spool(self) -> Spool: ...


@runtime_checkable
class Counting(Protocol):
    """A sink that sends in the background what was written, and knows how far it is."""

    @property
    def sent(self) -> int:
        """Bytes that the store has received so far, or almost so. Callable from any thread."""


@runtime_checkable
class SizedWrites(Protocol):
    """A backend that writes an object at less cost if it knows the size, and can begin again."""

    def create_sized(self, key: str, size: int) -> Sink:
        """Start writing an object of exactly ``size`` bytes; any other number is `BackendError`.

        ``write`` and ``commit`` may raise `layercache.backend.RewindError`, which leaves the sink open.
        """


@runtime_checkable
class Movable(Protocol):
    """A backend that can rename an object without reading it."""

    def move(self, key: str, to: str) -> None:
        """At every moment the object is complete under one of the names. An object at the new one is
        replaced.

        Raises `NotFoundError`.
        """


@runtime_checkable
class Expendable(Protocol):
    """A backend that can write small objects at less cost if a power failure may lose them.

    While the machine runs, they are complete or missing; after a power failure such an object may be gone,
    empty or torn, so its readers must be able to detect that.
    """

    def create_expendable(self, key: str) -> Sink: ...


@runtime_checkable
class SmallObjects(Protocol):
    """A backend that reads a whole folder of small objects at less cost than one after the other."""

    def read_small(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Yield the key and the bytes of every object that `Backend.scan` lists; lazily, in any order.

        Skips objects of more than `layercache.backend.SMALL_OBJECT` bytes, without reading all of them.
        """


@runtime_checkable
class LocalPath(Protocol):
    """A backend whose objects are regular files."""

    def path(self, key: str) -> str:
        """Return the object's path, whether or not it exists. Only for reading: objects never change."""


@runtime_checkable
class Touchable(Protocol):
    """A backend that refreshes an object's time cheaply, so that times show which objects were used last.

    Its readers of whole objects have ``modified``, the time as it was when they were opened (seconds since
    the epoch), so that recently used objects need not be refreshed.
    """

    def touch(self, key: str) -> None:
        """Set the object's time to now. Does nothing if it does not exist."""


class Lock(Protocol):
    """A held lock with a note, in which its holders leave each other at most a few hundred bytes.

    A killed process releases the lock; its note stays. If the file system has no locks, nobody is excluded,
    so a lock may only save work or protect a count.
    """

    def note(self) -> bytes:
        """Return the last note. Empty at first; it may be torn or lost."""

    def leave_note(self, note: bytes) -> None: ...


@runtime_checkable
class Lockable(Protocol):
    """A backend with named locks for all processes that share the store."""

    def lock(
        self, name: str, *, timeout: float | None = None, lasting: bool = True
    ) -> AbstractContextManager[Lock | None]:
        """Hold the lock of this name (one component of a key) inside the block.

        Waits without limit if ``timeout`` is None, otherwise until the holder has shown no activity for
        ``timeout`` seconds, that is since it took the lock or wrote a note. Then yields None: another holder
        has it. Not re-entrant; threads of this process exclude each other as processes do. A lock that is not
        ``lasting`` disappears with its note. Raises `BackendError`.
        """


@runtime_checkable
class Exclusive(Protocol):
    """A backend that can publish a small object only if its name is free, among all writers."""

    def create_new(self, key: str, data: bytes) -> bool:
        """Publish the object unless the name is taken; return whether it was published.

        A power failure may lose the object, as with `Expendable`. After a lost response, a retry that finds
        this very object returns True. Some services accept the condition and ignore it, so the result may
        save work, but nothing may depend on it (`Conditional.honours_conditions`).
        """


@runtime_checkable
class Conditional(Protocol):
    """A backend that writes a small object only if it is still the one that was read.

    So that of several writers who read, change and write one object, none undoes what another one wrote. A
    power failure may lose what was written, as with `Expendable`. Unconditional writes to the same names
    (`create`, `delete`) may come between the check and the write.
    """

    def honours_conditions(self) -> bool:
        """Whether the store refuses a write whose condition does not hold.

        Some services ignore conditions, or refuse each write that has one. So the first call in a process
        finds out by trying, in at most three requests. Raises `BackendError` if the store does not respond.
        """

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Return the bytes of a small object and its version, which an object with other bytes never has.

        Raises `NotFoundError`, and `FormatError` for more than `layercache.backend.SMALL_OBJECT` bytes.
        """

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        """Publish the object if it still has this version (None: if there is none); return whether it was.

        No bytes delete it, or leave an empty object if the store cannot delete under a condition. After a
        lost response, a retry that finds this very object returns True.
        """


@runtime_checkable
class SignedURL(Protocol):
    """A backend of a service that sends an object to anybody with a URL that its owner has signed."""

    def signed_url(self, key: str, seconds: int) -> str | None:
        """Return a URL from which the object can be read by GET, whole or by ranges, for that time.

        Whoever has it needs no credentials, and can read this object only. It is not checked whether the
        object exists. None if these credentials cannot sign. Raises `BackendError`.
        """


@runtime_checkable
class Leftovers(Protocol):
    """A backend in which killed processes leave unfinished writes that are not visible as objects."""

    def remove_leftovers(self, older_than: float) -> int:
        """Remove unfinished writes that started more than this many seconds ago; return how many. A writer
        that is still running after that time fails and publishes nothing.
        """


@runtime_checkable
class CountedLeftovers(Protocol):
    """A backend of `Leftovers` that can list them: ``layercache stats`` and ``doctor`` report how many."""

    def leftovers(self) -> Iterable[Leftover]:
        """Yield the unfinished writes, including those of writers that are still running."""


class Finding(Value, frozen=True):
    """A line of ``layercache doctor``: what was checked, in a word or two, what was found, what to do."""

    name: str
    detail: str
    result: Literal["ok", "warning", "failed"] = "ok"
    hint: str = ""


@runtime_checkable
class Diagnosable(Protocol):
    """A backend with checks of its store, in addition to those of every store."""

    def diagnose(self) -> Iterator[Finding]:
        """Check the store without writing, in a few seconds. Raises `BackendError`."""
