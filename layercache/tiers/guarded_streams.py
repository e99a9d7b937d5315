"""What a guarded backend gives out: readers, sinks, spools and locks that keep their promises, or raise."""

from __future__ import annotations

import io
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, cast

from layercache.backend import RewindError
from layercache.backend.capabilities import Counting
from layercache.errors import BackendError, ConfigError
from layercache.streams.readers import JudgingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache.backend import Reader, Sink
    from layercache.backend.capabilities import Lock, Spliced, Spool, Stamped
    from layercache.tiers.blame import Blame


class GuardedReader(JudgingReader):
    """A reader that gives ``size`` bytes or raises `BackendError`; once it has failed it keeps failing.

    The last bytes are given only after the end was seen behind them: a reader that claims more than it
    gets, or gives more than there should be, is found out in time. ``modified`` is as in `Touchable`.
    """

    size: int

    def __init__(self, raw: Reader, blame: Blame, doing: str, most: int | None) -> None:
        super().__init__(raw)
        self._blame = blame
        self._doing = doing
        with blame.doing(doing):
            size, modified = raw.size, getattr(raw, "modified", math.inf)
            # RawIOBase.read of older Pythons believes a count beyond the buffer, and reads foreign memory.
            self._by_buffer = getattr(type(raw), "read", None) is io.RawIOBase.read
        if not isinstance(size, int) or size < 0 or (most is not None and size > most):
            raise blame.broken(doing, f"the reader states the size {size!r}")
        self.size = self._left = size
        self.modified: float = modified if isinstance(modified, int | float) else math.inf
        self._ended = False

    def _read(self, size: int) -> bytes:
        if self._ended or not size:
            return b""
        data = self._some(min(size, self._left)) if self._left else b""
        if self._left and not data:
            there = self.size - self._left
            raise self._blame.broken(self._doing, f"ended after {there} of {self.size} bytes")
        self._left -= len(data)
        if not self._left:
            if self._some(1):
                raise self._blame.broken(self._doing, f"gave more than the {self.size} bytes it stated")
            self._ended = True
        return data

    def _some(self, size: int) -> bytes:
        with self._blame.doing(self._doing):
            data = self._filled(size) if self._by_buffer else self._raw.read(size)
        if not isinstance(data, bytes):
            raise self._blame.broken(self._doing, f"read gave {type(data).__name__} instead of bytes")
        if len(data) > size:
            raise self._blame.broken(self._doing, f"read gave {len(data)} bytes where {size} were asked for")
        return data

    def _filled(self, size: int) -> bytes:
        buffer = bytearray(size)
        count = self._raw.readinto(buffer)
        check_count(self._blame, self._doing, count, size)
        return bytes(memoryview(buffer)[:count])

    def close(self) -> None:
        with self._blame.ignoring():  # what was read was counted: how the reader ends changes nothing
            super().close()


class GuardedSink:
    """A sink whose failures are `BackendError`. One of giving up never hides why it was given up.

    ``look`` is called with key and size of what was published, and raises where it is not there.
    """

    _promised: tuple[type[Exception], ...] = ()

    def __init__(self, raw: Sink, blame: Blame, key: str, look: Callable[[str, int], object]) -> None:
        self._raw = raw
        self._blame = blame
        self._key = key
        self._doing = f"writing {key}"
        self._look = look
        self._size = 0

    @property
    def sent(self) -> int:
        return self._raw.sent if isinstance(self._raw, Counting) else self._size

    def write(self, data: ReadableBuffer, /) -> None:
        with self._blame.doing(self._doing, *self._promised):
            self._raw.write(data)
        self._size += memoryview(data).nbytes

    def commit(self) -> None:
        with self._blame.doing(self._doing, *self._promised):
            self._raw.commit()
        self._look(self._key, self._size)

    def abort(self) -> None:
        with self._blame.doing(f"giving up {self._key}"):
            self._raw.abort()

    def __enter__(self) -> Self:
        with self._blame.doing(self._doing):
            self._raw = self._raw.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            with self._blame.doing(f"giving up {self._key}"):
                self._raw.__exit__(kind, error, trace)
        except (BackendError, ConfigError):
            if error is None:
                raise


class RewoundSink(GuardedSink):
    """The same around one that may raise `RewindError`."""

    _promised = (RewindError,)

    def write(self, data: ReadableBuffer, /) -> None:
        with self._rewinding(self._size + memoryview(data).nbytes):
            super().write(data)

    def commit(self) -> None:
        with self._rewinding(self._size):
            super().commit()

    @contextmanager
    def _rewinding(self, most: int) -> Iterator[None]:
        try:
            yield
        except RewindError as error:
            offset: object = error.offset
            if not isinstance(offset, int) or not 0 <= offset <= most:
                wrong = f"asks for the bytes from {offset!r} on again, where it had {most}"
                raise self._blame.broken(self._doing, wrong) from error
            self._size = offset
            raise


class GuardedSpool:
    """A spool whose failures are `BackendError`. ``look`` is as that of `GuardedSink`."""

    def __init__(self, raw: Spool, blame: Blame, look: Callable[[str, int], object]) -> None:
        self._raw = raw
        self._blame = blame
        self._look = look
        self._size = 0

    def write(self, data: ReadableBuffer, /) -> None:
        with self._blame.doing("writing a temporary file"):
            self._raw.write(data)
        self._size += memoryview(data).nbytes

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        with self._blame.doing("reading a spool"):
            count = self._raw.readinto_at(offset, buffer)
        return check_count(self._blame, "reading a spool", count, memoryview(buffer).nbytes)

    def publish(self, key: str) -> None:
        with self._blame.doing(f"writing {key}"):
            self._raw.publish(key)
        self._look(key, self._size)

    def close(self) -> None:
        with self._blame.ignoring():  # what it held was published, or is not wanted
            self._raw.close()


class StampedSpool(GuardedSpool):
    """The same around one that is `Stamped`."""

    def was_changed(self) -> bool:
        with self._blame.doing("reading a spool"):
            return cast("Stamped", self._raw).was_changed()


class SplicedSpool(StampedSpool):
    """The same around one that is `Spliced` as well."""

    def splice_to(self, pipe: int, offset: int, size: int, /) -> int:
        with self._blame.doing("reading a spool"):
            count = cast("Spliced", self._raw).splice_to(pipe, offset, size)
        return check_count(self._blame, "reading a spool", count, size)


class GuardedLock:
    """A lock whose failures are `BackendError`."""

    def __init__(self, raw: Lock, blame: Blame, doing: str) -> None:
        self._raw = raw
        self._blame = blame
        self._doing = doing

    def note(self) -> bytes:
        with self._blame.doing(self._doing):
            note = self._raw.note()
        if not isinstance(note, bytes):
            raise self._blame.broken(self._doing, f"its note is {type(note).__name__} instead of bytes")
        return note

    def leave_note(self, note: bytes) -> None:
        with self._blame.doing(self._doing):
            self._raw.leave_note(note)


def check_count(blame: Blame, doing: str, count: object, most: int) -> int:
    """How many bytes readinto has put into a buffer of ``most``, if it says so sensibly."""
    if not isinstance(count, int) or not 0 <= count <= most:
        raise blame.broken(doing, f"readinto says {count!r} of a buffer of {most} bytes")
    return count
