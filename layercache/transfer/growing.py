"""Bytes that grow while others read them: how many there are, who may read them, who brings the next."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.streams.readers import CHUNK
from layercache.transfer.spool import ShortSpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from layercache.oci.digest import Hash
    from layercache.transfer.spool import TierSpool

HELD_BACK = CHUNK
"""The last bytes that followers do not see before the whole was found right."""

ALL = 1 << 62
"""More bytes than any blob has: waiting for more than that is waiting for the end."""

FEW = 4
"""Followers that are woken for every chunk. Waking more of them each time takes longer than their reading."""

PAUSE = 0.05
"""Seconds for which more followers are left asleep while bytes come: each then finds more of them.

What came just before the source got stuck they see when it goes on, or ends.
"""


class GrowingSpool:
    """A spool, and all that the threads of one transfer share about it: this is a monitor.

    At most one thread at a time drives it: that one, and no other, may write into ``spool`` and ``show``.
    """

    # One lock guards every attribute below it. It is the innermost: no method calls out of this file while it
    # holds the lock, except to the clock. So its callers may hold any other lock.
    #
    # It is an RLock: a follower that nobody closed leaves when it is collected, and the collector may run in
    # any of these blocks, in the thread that holds the lock. `leave` changes nothing that a block has read
    # and still relies on: a count, a flag that only goes up.
    #
    # Two conditions share the lock. `_grown`: more bytes may be read. `_ended`: nothing more will come. A
    # thread that waits for the end alone (to fill a tier, say) would otherwise wake for every chunk. It is
    # always `notify_all`, since each thread waits for another offset, and any of them may have to drive next:
    # with `notify` the one that is woken may have all it needs, and nobody would drive.
    #
    # `visible` and `verified` are also read without the lock. They change in one direction only, so the worst
    # is to see them late, and then the lock is taken. What goes with them is there before them.
    #
    # The driver is a token, not a flag: a thread that is interrupted just after it took its turn sees by the
    # token that the turn is to be given back (see `Producer.bring`).
    #
    # A forked child must not use it: the lock may have been held by a thread that is not there any more.

    def __init__(
        self,
        spool: TierSpool,
        damaged: Callable[[Hash], LayercacheError],
        *,
        algorithm: str = "sha256",
        size: int | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.spool = spool
        self._damaged = damaged
        self._lock = threading.RLock()
        self._grown = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self.size = size
        self.visible = 0
        self.found: Hash | None = None
        self.verified = False
        self.settled = False
        self._error: Exception | None = None
        self._driver: object | None = None
        self._followers = 0
        self._asleep = 0
        self._woken = 0.0
        self._is_spoilt = self._is_abandoned = self._has_heir = False
        self._source_open = self._spool_open = True

    # What followers call.

    def enter(self) -> bool:
        """Count one more follower; False when it is too late for that."""
        with self._lock:
            if self._is_abandoned or self._error or self._is_spoilt or not self._spool_open:
                return False
            self._followers += 1
        return True

    def leave(self, *, heir: bool = False) -> bool:
        """Count one follower less, or the heir; whether it was the last, of bytes not found right yet."""
        with self._lock:
            self._followers -= 1
            self._has_heir = self._has_heir and not heir
            self._is_abandoned = not self._followers and not self.verified
            return self._is_abandoned

    def bequeath(self) -> bool:
        """Whether the follower that leaves is the last one, of bytes that are not found right yet.

        Then it stays counted, for the heir who sees them to their end in its place, and calls `leave`.
        """
        with self._lock:
            if self._followers != 1 or self._has_heir or self.verified or self.settled:
                return False
            self._has_heir = True
        return True

    def adopt(self) -> bool:
        """Count an heir beside the followers; False if there is one, or it is too late."""
        with self._lock:
            if self._has_heir or not self.enter():
                return False
            self._has_heir = True
        return True

    @property
    def has_heir(self) -> bool:
        return self._has_heir

    @property
    def is_unattended(self) -> bool:
        """Whether there is an heir, and no reader."""
        return self._has_heir and self._followers == 1

    def wait(self, beyond: int, driver: object) -> int | None:
        """How many bytes may be read: more than ``beyond``, or all.

        None: nobody drives, so ``driver`` has the turn now. Raises what the transfer failed with.
        """
        with self._lock:
            changed = self._ended if beyond == ALL else self._grown
            while self.visible <= beyond and not self.settled and self._driver is not None:
                self._asleep += 1
                try:
                    changed.wait()
                finally:
                    self._asleep -= 1
            if self.visible > beyond:
                return self.visible
            if self._error is not None:
                raise self._error
            if self.settled:
                return self.visible
            self._driver = driver
        return None

    def readinto_at(self, offset: int, buffer: WriteableBuffer) -> int:
        try:
            return self.spool.readinto_at(offset, buffer)
        except ShortSpoolError as error:
            raise self.spoil(self.found) if self.found else error from error

    def is_near_end(self, offset: int) -> bool:
        """Whether an offset is among the last bytes, those that are held back until all were found right."""
        return self.verified and self.size is not None and offset > self.size - HELD_BACK

    def spoil(self, found: Hash) -> LayercacheError:
        """What was published has been changed, so nobody else can follow. The error to raise."""
        with self._lock:
            self._is_spoilt = True
        return self._damaged(found)

    # What the driver calls, and who starts or ends the transfer.

    def take_turn(self, driver: object) -> bool:
        """Make this the driver, unless there is one or nothing is left to drive."""
        with self._lock:
            if self._driver is not None or self.settled:
                return False
            self._driver = driver
        return True

    def has_turn(self, driver: object) -> bool:
        return self._driver is driver

    def give_turn(self) -> None:
        """Nobody drives any more. Everybody is woken: one of them has to go on."""
        with self._lock:
            self._driver = None
            if self._asleep:
                self.wake_all()

    def show(self, size: int | None, *, now: bool) -> None:
        """Let followers see what was written, but for the last `HELD_BACK` bytes of ``size`` in all.

        If that is None, any of the bytes so far may be among the last. ``now``: wake all.
        """
        written = self.spool.size
        whole = written if size is None else size
        with self._lock:
            self.visible = min(whole - HELD_BACK, written) if whole > HELD_BACK else 0
            if self._asleep:  # seldom, in a small layer
                time_now = time.monotonic()
                if now or self._followers <= FEW or time_now >= self._woken + PAUSE:
                    self._woken = time_now
                    self._grown.notify_all()

    def show_all(self, found: Hash) -> None:
        """All bytes were found right, and have this hash."""
        with self._lock:
            self.found = found
            self.size = size = self.spool.size
            self.verified = True
            self.visible = size
            if self._asleep:
                self._grown.notify_all()

    def settle(self, error: BaseException | None) -> bool:
        """It ends: well, or with what the followers raise. False if it has ended before.

        An interrupt is for its own thread alone. Nobody is woken yet: `wake_all` does that.
        """
        with self._lock:
            if self.settled:
                return False
            self.settled = True
            self._error = error if error is None or isinstance(error, Exception) else GivenUpError()
        return True

    def wake_all(self) -> None:
        with self._lock:
            if self._asleep:  # to wake nobody takes five times as long as to see that
                self._grown.notify_all()
                self._ended.notify_all()

    def take_source(self) -> bool:
        """Whether the source can be closed: it has ended and nobody drives. True for one caller only."""
        with self._lock:
            taken = self._source_open and self._is_over
            self._source_open = self._source_open and not taken
        return taken

    def close_if_unused(self) -> None:
        """Close the spool once it has ended, and neither driver nor follower is left."""
        with self._lock:
            closing = self._spool_open and self._is_over and not self._followers
            self._spool_open = self._spool_open and not closing
        if closing:
            self.spool.close()

    @property
    def _is_over(self) -> bool:
        return self.settled and self._driver is None


class GivenUpError(LayercacheError):
    """Nobody wanted the rest."""

    def __init__(self) -> None:
        super().__init__("the transfer was given up before its end")
