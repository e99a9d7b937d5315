"""The producing side of a transfer: reads, hashes, writes into the spool, and ends it."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING

from layercache.oci.digest import Hash
from layercache.streams.readers import CHUNK
from layercache.transfer.growing import GivenUpError

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.transfer.growing import GrowingSpool
    from layercache.transfer.layer_lock import LayerLock
    from layercache.transfer.pace import Pace
    from layercache.transfer.stage import Stage

IN_FLIGHT = 16
"""Chunks on their way from the thread that reads or inflates to the one that hashes and writes."""

ARENA = 16 << 20
"""More bytes than there are on their way at a time."""


class Producer:
    """Brings the bytes of one transfer, in the thread of a reader or in separate threads."""

    # There is no lock here. Reader, hasher and stage are touched only by the thread that has the turn of the
    # `GrowingSpool`, which gives it to one thread at a time; taking and giving it are done under the spool's
    # lock, so each driver sees what the one before it has done. With two threads it is the hashing one that
    # has the turn; the other has the reader for itself until it has ended, and is joined before the turn is
    # given.
    #
    # What other threads may call at any time: `settle` (somebody gives it up), `hold`, `close_if_unused`. The
    # spool lets one `settle` win, and gives the reader to one caller to close, once nobody drives.
    #
    # `settle` has an order: first it is marked as ended, so nobody joins or drives; then the stage takes it
    # off the list of transfers on their way, and the lock between processes goes, so the next one
    # that looks finds the entry and not this; then all are woken. Followers see the end only after that.
    #
    # An interrupt (KeyboardInterrupt) may come between any two lines, in the thread of a reader. It settles
    # the transfer, as the hash may have had a piece that the spool has not: there is no going on.

    def __init__(
        self, raw: Reader, growing: GrowingSpool, pace: Pace, stage: Stage, *, size: int | None = None
    ) -> None:
        self._raw = raw
        self._growing = growing
        self._pace = pace
        self._stage = stage
        self._size = size
        self._hasher = hashlib.new(growing.algorithm)
        self._lock: LayerLock | None = None
        self.thread: threading.Thread | None = None

    def hold(self, lock: LayerLock) -> None:
        """Hold this lock until it has ended, with a sign of life as bytes come."""
        self._lock = lock
        # `settle` marks it as ended, then looks for a lock: so one of the two sees what the other did.
        if self._growing.settled:
            lock.end()

    def bring(self, beyond: int) -> int:
        """See to it that more than ``beyond`` bytes may be read, or all; how many they are.

        Waits for the driving thread; drives where there is none. Raises what the transfer failed with.
        """
        growing, driver = self._growing, object()
        _keep_memory()
        while True:
            try:
                visible = growing.wait(beyond, driver)
                if visible is not None:
                    return visible
                self._consume(self._raw.read(CHUNK))
            except BaseException as error:
                if growing.has_turn(driver):
                    self.settle(error)
                raise
            finally:
                if growing.has_turn(driver):
                    self._rest()

    def start(self, *, threads: int) -> bool:
        """Let one or two threads drive it, unless somebody does; whether they do."""
        if not self._growing.take_turn(self):
            return False  # a reader was quicker: then the readers go on driving
        _keep_memory()
        work = self._drive if threads == 1 else self._drive_by_two
        thread = threading.Thread(target=work, name="layercache writes", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: then the readers drive
            self._rest()
            return False
        self.thread = thread
        return True

    def settle(self, error: BaseException | None) -> None:
        """End it: well, or with what the followers raise. Ending it again does nothing."""
        if not self._growing.settle(error):
            return
        try:
            self._stage.settled(error)
        finally:
            if self._lock is not None:
                self._lock.end()
            self._pace.stop()
            self._growing.wake_all()

    def close_if_unused(self) -> None:
        """Close what is read from, and the spool, as far as nobody needs them."""
        if self._growing.take_source():
            with suppress(Exception):  # what was read has been judged: how its source ends changes nothing
                self._raw.close()
        self._growing.close_if_unused()

    def _drive(self) -> None:
        try:
            while not self._growing.settled:
                self._consume(*_pieces(self._raw, CHUNK))
                self._pace.keep()
        except BaseException as error:  # the followers raise it
            self.settle(error)
        finally:
            self._rest()

    def _drive_by_two(self) -> None:
        """Hash and write what another thread reads, or inflates."""
        # The queues hand over pieces, and bound them: a token is a place for a chunk.
        tokens: SimpleQueue[None] = SimpleQueue()
        chunks: SimpleQueue[list[bytes] | BaseException] = SimpleQueue()
        for _ in range(IN_FLIGHT):
            tokens.put(None)
        reading = threading.Thread(
            target=self._read_ahead, args=(tokens, chunks), name="layercache reads", daemon=True
        )
        try:
            if self._size is not None:
                # Whoever waits for the first bytes gets them before there are more or another thread; unless
                # the size is unknown: then they are held back.
                self._consume(*_pieces(self._raw, 1))
            if not self._growing.settled:
                reading.start()
            while not self._growing.settled:
                chunk = chunks.get()
                if isinstance(chunk, BaseException):
                    raise chunk
                self._consume(*chunk)
                tokens.put(None)
        except BaseException as error:
            self.settle(error)
        finally:
            tokens.put(None)
            if reading.ident is not None:
                reading.join()  # what is read from must stay open until nobody reads
            self._rest()

    def _read_ahead(
        self, tokens: SimpleQueue[None], chunks: SimpleQueue[list[bytes] | BaseException]
    ) -> None:
        end: list[bytes] | BaseException = []
        try:
            while pieces := _pieces(self._raw, CHUNK):
                chunks.put(pieces)
                tokens.get()
                self._pace.keep()
                if self._growing.settled:
                    raise GivenUpError
        except BaseException as error:  # handed on: the followers raise it
            end = error
        chunks.put(end)

    def _consume(self, *pieces: bytes) -> None:
        """Hash and spool what has come; nothing is the end."""
        growing, spool = self._growing, self._growing.spool
        before = spool.size
        for piece in filter(None, pieces):
            self._hasher.update(piece)
            spool.write(piece)
            self._pace.remember(spool.size - len(piece), piece)
        come = spool.size - before
        if come:
            self._stage.progressed(come)
            if self._lock is not None:
                self._lock.beat()
        if come and (self._size is None or spool.size <= self._size):
            # The follower that sets the pace must not sleep while it is waited for.
            growing.show(self._size, now=self._pace.is_set)
        else:  # at the end, or beyond the size that was stated, which is as wrong as it can get
            self._complete()

    def _complete(self) -> None:
        found = Hash.from_hasher(self._hasher)
        self._stage.verified(found, self._growing.spool.size)
        self._growing.show_all(found)
        self._stage.stored(self._growing.spool, found)
        self.settle(None)

    def _rest(self) -> None:
        """Give back the turn to drive. Who settles it after that finds that nobody drives."""
        self._growing.give_turn()
        if self._growing.settled:
            self.close_if_unused()


def _pieces(raw: Reader, enough: int) -> list[bytes]:
    """At least ``enough`` bytes as they come, less only at the end: a frame's blocks need not be joined."""
    pieces: list[bytes] = []
    size = 0
    while size < enough and (piece := raw.read(CHUNK)):
        pieces.append(piece)
        size += len(piece)
    return pieces


@cache
def _keep_memory() -> None:
    """Have the C library keep freed memory for the next chunks, which saves a page fault for every page.

    glibc gives what is freed back to the system at once, until it has seen a larger block come and go
    (mallopt(3), M_MMAP_THRESHOLD: "dynamically adjusted"). Elsewhere this does nothing.
    """
    bytes(ARENA)
