"""Whether bytes that were found right, and published, are still the same when a follower reads them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.oci.digest import Hash
from layercache.streams.readers import CHUNK, begins_with

if TYPE_CHECKING:
    from hashlib import _Hash

    from layercache.backend import Reader
    from layercache.transfer.growing import GrowingSpool


class Recheck:
    """What one follower reads, looked at again near the end of the bytes, and at the end of what it reads.

    Once published, the bytes stand in a file that other programs can reach. They are hashed again where the
    store says that the file was changed. With ``always`` they are hashed whatever it says: a follower that
    reads all in order hashes as it reads, any other has all of them read again.

    ``start`` is where the follower begins, an offset in bytes.
    """

    # One object a follower, used in the thread that reads it: nothing is shared but the spool.

    def __init__(self, growing: GrowingSpool, *, always: bool, start: int) -> None:
        self._growing = growing
        self._start = start
        self._always = always
        self._hasher = hashlib.new(growing.algorithm) if always else None
        self._judged = False

    def skip(self) -> None:
        """The follower reads elsewhere: its hash would not be that of bytes in their order."""
        self._hasher = None

    def begins_alike(self, other: Reader, count: int) -> bool:
        """Whether another reader begins with the first ``count`` bytes of the follower, and it gave no more.

        With ``always`` it is what was given that counts: the file may have been changed since, even back to
        what it was.
        """
        if self._hasher is not None:
            return begins_with(other, count, self._hasher)
        return not self._always and self._begins_as_file(other, count)

    def _begins_as_file(self, other: Reader, count: int) -> bool:
        offset, buffer = 0, memoryview(bytearray(CHUNK))
        while offset < count:
            theirs = other.read(min(CHUNK, count - offset))
            done = 0
            while done < len(theirs):
                at = self._start + offset + done
                try:
                    got = self._growing.readinto_at(at, buffer[: len(theirs) - done])
                except LayercacheError:  # it is gone: nobody knows what it was
                    return False
                if not got or buffer[:got] != theirs[done : done + got]:
                    return False
                done += got
            if not theirs:
                return False
            offset += len(theirs)
        return True

    def passed(self, data: bytes | memoryview, end: int, *, is_last: bool) -> None:
        """These bytes, which end at offset ``end``, are about to be given. Raises if they may be others.

        ``is_last``: the follower reads no further.
        """
        growing, given = self._growing, self._hasher
        judged = growing.verified and (
            is_last or end == growing.size or (not self._judged and growing.is_near_end(end))
        )
        if given is not None:
            self._hasher = given.copy() if judged else given
            self._hasher.update(data)
        if judged:
            try:
                self._judge(end)
            except LayercacheError:
                self._hasher = given
                raise
            self._judged = True

    def _judge(self, end: int) -> None:
        growing, given = self._growing, self._hasher
        assert growing.found is not None, "what was found right has a hash"
        if given is not None and not self._start:
            whole, part = given.copy(), given
            self._read(end, growing.spool.size, whole)
        elif self._always or growing.spool.was_changed:
            whole, part = hashlib.new(growing.algorithm), hashlib.new(growing.algorithm)
            self._read(0, self._start, whole)
            self._read(self._start, end, whole, part)
            self._read(end, growing.spool.size, whole)
        else:
            return
        right = given is None or part.digest() == given.digest()
        if not right or Hash.from_hasher(whole) != growing.found:
            raise growing.spoil(growing.found)

    def _read(self, start: int, end: int, *hashers: _Hash) -> None:
        """Hash bytes ``start`` to ``end`` of the file as it is now."""
        buffer = memoryview(bytearray(CHUNK))
        while start < end and (count := self._growing.readinto_at(start, buffer[: end - start])):
            for hasher in hashers:
                hasher.update(buffer[:count])
            start += count
