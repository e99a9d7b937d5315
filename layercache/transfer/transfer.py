"""One pass over a blob: read, hash, spool, and let readers follow while it grows.

Two transfers make the pass over a layer: the compressed one reads the source; the uncompressed one
inflates what a follower of the first reads. Each byte is pulled, hashed and inflated once, however many
follow.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import check_range
from layercache.transfer.follower import Follower
from layercache.transfer.growing import ALL, GivenUpError, GrowingSpool
from layercache.transfer.pace import Pace
from layercache.transfer.producer import Producer
from layercache.transfer.recheck import Recheck

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader
    from layercache.transfer.finisher import Queue
    from layercache.transfer.layer_lock import LayerLock
    from layercache.transfer.spool import TierSpool
    from layercache.transfer.stage import Stage


class Transfer:
    """One form of a layer on its way: produced once, hashed, spooled, followed by any number of readers.

    What becomes of the bytes its `Stage` decides. Followers see the last `HELD_BACK` bytes after
    `Stage.verified`, the end after `Stage.stored`.

    The readers drive it: the reader that needs bytes that are not there yet produces them, the others wait.
    After ``start`` a thread does that instead, or two: one reads (or inflates), one hashes and writes. A
    transfer whose last follower leaves before all was found right is given up, and leaves nothing; unless its
    stage says that it is worth finishing, and the ``finisher`` takes the follower's place. What is read from,
    and the spool, are closed when it has ended and nobody uses them: not while somebody drives.

    ``size``: bytes that are expected; more are the end. ``rehash``: followers hash the published file before
    they give its last bytes.
    """

    # Three parts, each with its reasons in its own file:
    # - `GrowingSpool` is what all threads share: who drives, how far it is, who follows, how it ended;
    # - `Producer` is the driving side, touched by one thread at a time;
    # - `Pace` holds back the producer for one follower.
    # This class has no state and no lock: it is where followers and producer meet.

    def __init__(
        self,
        raw: Reader,
        spool: TierSpool,
        stage: Stage,
        *,
        rehash: bool = False,
        algorithm: str = "sha256",
        size: int | None = None,
        finisher: Queue | None = None,
    ) -> None:
        self._stage = stage
        self._finisher = finisher
        self._rehash = rehash
        self._growing = GrowingSpool(spool, stage.damaged, algorithm=algorithm, size=size)
        self._pace = Pace(lambda: spool.size)
        self._producer = Producer(raw, self._growing, self._pace, stage, size=size)

    @property
    def size(self) -> int | None:
        """Bytes in all: as stated, and once they were found right as counted."""
        return self._growing.size

    @property
    def verified(self) -> bool:
        return self._growing.verified

    def led_by(self, lock: LayerLock) -> None:
        """Hold this lock until it has ended, with a sign of life as bytes come."""
        self._producer.hold(lock)

    def follow(
        self, verified: Callable[[], None] | None = None, *, start: int = 0, end: int | None = None
    ) -> Follower | None:
        """A reader of bytes ``start`` to ``end``; None when it is too late: it has failed, or all have left.

        ``verified`` is called in the follower's thread once the stage was content, before that follower
        gets bytes that were held back until then; what it raises, the follower raises instead. Raises
        `ValueError` unless 0 <= start <= end.
        """
        check_range(start, end)
        return Follower(self, verified, start, end) if self._growing.enter() else None

    def start(self, *, threads: int = 2) -> bool:
        """Let one or two threads drive it unless somebody does; whether they do.

        To be called once by a follower.
        """
        return self._producer.start(threads=threads)

    def cancel(self) -> threading.Thread | None:
        """Give it up unless it is sound and being published; the thread that may take a while to notice."""
        if not self._growing.verified:
            self._producer.settle(GivenUpError())
        return self._producer.thread

    @property
    def received(self) -> int:
        """Bytes that have come so far."""
        return self._growing.spool.size

    @property
    def is_finishing(self) -> bool:
        """Whether it continues to its end without readers."""
        return self._growing.has_heir

    @property
    def is_unattended(self) -> bool:
        """Whether it goes on without a reader."""
        return self._growing.is_unattended

    def finish_soon(self) -> bool:
        """Continue to the end without readers if that is worthwhile; return whether it is."""
        if not self._is_worth_finishing() or not self._growing.adopt():
            return False
        return self._hand_over()

    def finish(self) -> None:
        """See it to its end, in place of the readers that left. The stage reports what it ended with."""
        self._stage.finishing()
        try:
            with suppress(Exception):
                self.wait(ALL)
        finally:
            self.drop()

    def drop(self) -> None:
        """Do not see it to its end after all: it is given up if it has no readers."""
        if self._growing.leave(heir=True):
            self._producer.settle(GivenUpError())
        self._producer.close_if_unused()

    def _is_worth_finishing(self) -> bool:
        finisher = self._finisher
        if finisher is None or self._growing.verified:
            return False
        return finisher.takes_more and self._stage.is_worth_finishing()

    def _hand_over(self) -> bool:
        assert self._finisher is not None, "otherwise nothing is worth finishing"
        taken = self._finisher.add(self)
        if not taken:
            self.drop()
        return taken

    # What followers need.

    def wait(self, beyond: int) -> int:
        """How many bytes may be read: more than ``beyond``, or all. Drives where nobody does."""
        visible = self._growing.visible  # it only grows: no lock is needed to see that it is enough
        return visible if visible > beyond else self._producer.bring(beyond)

    def recent_at(self, offset: int) -> bytes | None:
        """What a piece has from there on, if it still is in memory."""
        return self._pace.recent_at(offset)

    def readinto_at(self, offset: int, buffer: WriteableBuffer) -> int:
        """Read what is there already. Raises where it is gone, or was cut."""
        return self._growing.readinto_at(offset, buffer)

    def splice_at(self, offset: int, pipe: int, size: int) -> int:
        """As `Spliced.splice_to`, of what is there already. 0 from the moment that all was found right.

        After that the bytes may have a name, by which other programs can change them before they are sent:
        so each is read, and looked at again (`Recheck`). What was moved before is not: while it is in the
        pipe, it changes with the file, as does a file of the tier that is sent as it stands.
        """
        return 0 if self.verified or self._rehash else self._growing.spool.splice_to(pipe, offset, size)

    def recheck(self, start: int) -> Recheck:
        """For one follower, which begins at this offset."""
        return Recheck(self._growing, always=self._rehash, start=start)

    def set_pace(self, follower: Follower, *, holds: bool) -> None:
        """As `Pace.set`."""
        self._pace.set(follower, holds=holds)
        self._growing.wake_all()  # as one of many it may be asleep, and from now on is woken for each chunk

    def set_free(self, follower: Follower) -> None:
        """Go on without regard to this follower, which waits for the end, or leaves."""
        self._pace.free(follower)

    def catch_up(self, follower: Follower) -> None:
        """A follower has read on."""
        self._pace.catch_up(follower)

    def leave(self, follower: Follower, *, finish: bool = True) -> bool:
        """A follower is done. If it was the last one, what is not verified yet is finished, or given up.

        ``finish=False``: it is given up. Returns whether it was.
        """
        self._pace.free(follower)
        if finish and self._is_worth_finishing() and self._growing.bequeath():
            self._hand_over()
            return False
        given_up = self._growing.leave()
        if given_up:
            self._producer.settle(GivenUpError())
        self._producer.close_if_unused()
        return given_up
