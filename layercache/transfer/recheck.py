"""Whether bytes that were found right, and published, are still the same when a follower reads them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from layercache.oci.digest import Hash
from layercache.streams.readers import CHUNK

if TYPE_CHECKING:
    from hashlib import _Hash

    from layercache.transfer.growing import GrowingSpool


class Recheck:
    """What one follower reads, looked at again near the end of the bytes, and at the end of what it reads.

    Once published, the bytes stand in a file that other programs can reach. They are hashed again where the
    store says that the file was changed. With ``always`` they are hashed whatever it says: a follower that
    reads all in order hashes as it reads, any other has all of them read again.
    """

    # One object a follower, used in the thread that reads it: nothing is shared but the spool.

    def __init__(self, growing: GrowingSpool, *, always: bool, in_order: bool) -> None:
        self._growing = growing
        self._always = always
        self._hasher = hashlib.new(growing.algorithm) if always and in_order else None
        self._judged = False

    def skip(self) -> None:
        """The follower reads elsewhere: its hash would not be that of all bytes in their order."""
        self._hasher = None

    def passed(self, data: bytes | memoryview, end: int, *, is_last: bool) -> None:
        """These bytes, which end at offset ``end``, are about to be given. Raises if they may be others.

        ``is_last``: the follower reads no further.
        """
        if self._hasher is not None:
            self._hasher.update(data)
        growing = self._growing
        if not growing.verified:
            return
        if is_last or end == growing.size or (not self._judged and growing.is_near_end(end)):
            self._judge(end)
            self._judged = True

    def _judge(self, end: int) -> None:
        growing = self._growing
        assert growing.found is not None, "what was found right has a hash"
        if self._hasher is not None:
            found = self._hash_of_rest(self._hasher.copy(), end)
        elif self._always or growing.spool.was_changed:
            found = self._hash_of_rest(hashlib.new(growing.algorithm), 0)
        else:
            return
        if found != growing.found:
            raise growing.spoil(growing.found)

    def _hash_of_rest(self, hasher: _Hash, start: int) -> Hash:
        buffer = memoryview(bytearray(CHUNK))
        while start < self._growing.spool.size:
            count = self._growing.readinto_at(start, buffer)
            hasher.update(buffer[:count])
            start += count
        return Hash.from_hasher(hasher)
