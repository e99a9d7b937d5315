"""Bytes that go on from the next way where the entry that they came from turns out to be wrong."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TypeVar, cast

from layercache.errors import NotFoundError
from layercache.resolver.tier_writer import WrongEntryError
from layercache.streams.readers import HashedReader, WrappingReader
from layercache.transfer.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader

TRIES = 8
"""Wrong entries that one request meets until it gives up. Each is quarantined, so they are met once."""

_T = TypeVar("_T")


def healing(way: Callable[[], Reader], first: Reader | None = None) -> Reader:
    """What ``way`` opens; opened again where it meets a wrong entry, which puts that out of the way.

    ``first`` is what was opened already. Readers of a near tier that is trusted find out nothing, and are
    given as they are; the classes of others say so in ``may_find_wrong_entry``.
    """
    reader = _opened(way, None) if first is None else first
    return HealingReader(reader, way) if getattr(reader, "may_find_wrong_entry", False) else reader


def _opened(way: Callable[[], Reader], error: WrongEntryError | None) -> Reader:
    for _ in range(TRIES):
        try:
            return way()
        except WrongEntryError as another:
            error = another
        except NotFoundError as missing:
            if error is None:
                raise
            raise error from missing
    assert error is not None, "a way that opens nothing raises"
    raise error


class HealingReader(WrappingReader):
    """One form of a layer. Where the next way's bytes do not begin with what was given, it is an error."""

    def __init__(self, first: Reader, way: Callable[[], Reader]) -> None:
        super().__init__(first, first.size)
        self._way = way
        self._left = TRIES
        self._at = 0
        self._given = 0

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:  # part by part: what was read before a failure would be lost
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        data = self._tried(lambda raw: raw.read(size))
        self._pass(len(data))
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        # As `read`, in fewer calls: many readers of one layer spend much of their time in these.
        try:
            count = self._raw.readinto(buffer)
        except WrongEntryError as error:
            self._go_on(error)
            return self.readinto(buffer)
        self._at += count
        if self._at > self._given:
            self._given = self._at
        return count

    def splice_to(self, pipe: int, size: int, /) -> int:
        from layercache.streams.spliced import splice_to  # for the mirror alone

        count = self._tried(lambda raw: splice_to(raw, pipe, size))
        self._pass(count)
        return count

    def seekable(self) -> bool:
        return self._raw.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = self._tried(lambda raw: cast("io.IOBase", raw).seek(offset, whence))
        return self._at

    def tell(self) -> int:
        return self._at

    def _pass(self, count: int) -> None:
        self._at += count
        self._given = max(self._given, self._at)

    def _tried(self, action: Callable[[Reader], _T]) -> _T:
        while True:
            try:
                return action(self._raw)
            except WrongEntryError as error:
                self._go_on(error)

    def _go_on(self, error: WrongEntryError) -> None:
        self._left -= 1
        if not self._left:
            raise error
        new = _opened(self._way, error)
        try:
            if not self._begins_alike(new):
                raise error
            if self._at != self._given:
                cast("io.IOBase", new).seek(self._at)
        except BaseException:
            new.close()
            raise
        self._raw.close()
        self._raw, self.size = new, new.size

    def _begins_alike(self, new: Reader) -> bool:
        """Whether the next way begins with what was given. It is read for that, up to there."""
        if not self._given:
            return True
        if self._at != self._given and not new.seekable():
            return False
        old = self._raw
        return isinstance(old, Follower | HashedReader) and old.begins_alike(new, self._given)
