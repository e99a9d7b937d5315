"""One pass over a blob: read, hash, spool, and let readers follow while it grows.

Two transfers make the pass over a layer: the compressed one reads the source; the uncompressed one
inflates what a follower of the first reads. Each byte is pulled, hashed and inflated once, however many
follow.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.oci.digest import Hash
from layercache.streams.readers import CHUNK
from layercache.transfer.follower import ALL, Follower
from layercache.transfer.spool import ShortSpoolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader
    from layercache.transfer.layer_lock import LayerLock
    from layercache.transfer.spool import TierSpool
    from layercache.transfer.stage import Stage

HELD_BACK = CHUNK
"""The last bytes that followers do not see before the whole was found right."""

FEW = 4
"""Followers that are woken for every chunk. Waking more of them each time takes longer than their reading."""

PAUSE = 0.05
"""Seconds for which more followers are left asleep while bytes come: each then finds more of them.

What came so shortly before its source was stuck they see when that goes on, or ends.
"""

IN_FLIGHT = 16
"""Chunks on their way from the thread that reads or inflates to the one that hashes and writes."""

AHEAD = 8 << 20
"""Bytes that a blob may be ahead of the inflater that sets its pace; so many stay in memory for it.

Making the tar is the longest part of a pass. Where cores are few, what runs far ahead of it takes a core from
it first, and leaves one idle in the end.
"""

ARENA = 16 << 20
"""More bytes than there are on their way at a time."""


class Transfer:
    """One form of a layer on its way: produced once, hashed, spooled, followed by any number of readers.

    What becomes of the bytes its `Stage` decides. Followers see the last `HELD_BACK` bytes after
    `Stage.verified`, the end after `Stage.stored`.

    The readers drive it: whoever needs bytes that are not there yet produces them, the others wait. After
    ``start`` a thread does that instead, or two: one reads (or inflates), one hashes and writes. A transfer
    whose last follower leaves before all was found right is given up, and leaves nothing. What is read from,
    and the spool, are closed when it has ended and nobody uses them: not while somebody drives.
    """

    def __init__(
        self,
        raw: Reader,
        spool: TierSpool,
        stage: Stage,
        *,
        rehash: bool = False,
        algorithm: str = "sha256",
        size: int | None = None,
    ) -> None:
        self.size = size
        self.verified = False
        self._raw = raw
        self._spool = spool
        self._stage = stage
        self._rehash = rehash
        self._algorithm = algorithm
        self._hasher = hashlib.new(algorithm)
        self._found: Hash | None = None
        self._written = 0
        self._visible = 0
        self._woken = 0.0
        self._lock = threading.RLock()
        self._grown = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._driven = False
        self._followers = 0
        self._abandoned = self._is_spoilt = False
        self._settled = False
        self._error: Exception | None = None
        self._raw_open = self._spool_open = True
        self._thread: threading.Thread | None = None
        self._lead: LayerLock | None = None
        self._pace: Follower | None = None
        self._caught_up = threading.Condition(self._lock)
        self._recent: deque[tuple[int, bytes]] = deque()

    def led_by(self, lead: LayerLock) -> None:
        """Hold this lead until it has ended, with a sign of life as bytes come."""
        with self._lock:
            self._lead = lead
            settled = self._settled
        if settled:
            lead.end()

    def follow(self, verified: Callable[[], None] | None = None) -> Follower | None:
        """A reader from the first byte; None when it is too late: it has failed, or all have left.

        ``verified`` is called in the follower's thread once the stage was content, before that follower
        gets the last bytes; what it raises, the follower raises instead.
        """
        with self._lock:
            if self._abandoned or self._error or self._is_spoilt or not self._spool_open:
                return None
            self._followers += 1
        return Follower(self, verified)

    def start(self, *, threads: int = 2) -> bool:
        """Let one or two threads drive it unless somebody does; whether they do.

        To be called once by a follower.
        """
        with self._lock:
            if self._driven or self._settled:
                return False  # a reader was quicker: then the readers go on driving
            self._driven = True
        _keep_memory()
        work = self._drive if threads == 1 else self._drive_by_two
        thread = threading.Thread(target=work, name="layercache writes", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads are to be had: then the readers drive
            self._rest()
        else:
            self._thread = thread
        return self._driven

    def _drive(self) -> None:
        try:
            while not self._settled:
                self._consume(*_pieces(self._raw))
                self._keep_pace()
        except BaseException as error:  # the followers raise it
            self._settle(error)
        finally:
            self._rest()

    def _drive_by_two(self) -> None:
        """Hash and write what another thread reads, or inflates."""
        tokens: SimpleQueue[None] = SimpleQueue()
        chunks: SimpleQueue[list[bytes] | BaseException] = SimpleQueue()
        for _ in range(IN_FLIGHT):
            tokens.put(None)

        def produce() -> None:
            end: list[bytes] | BaseException = []
            try:
                while pieces := _pieces(self._raw):
                    chunks.put(pieces)
                    tokens.get()
                    self._keep_pace()
                    if self._settled:
                        raise _given_up()
            except BaseException as error:  # handed on: the followers raise it
                end = error
            chunks.put(end)

        producer = threading.Thread(target=produce, name="layercache reads", daemon=True)
        try:
            producer.start()
            while not self._settled:
                chunk = chunks.get()
                if isinstance(chunk, BaseException):
                    raise chunk
                self._consume(*chunk)
                tokens.put(None)
        except BaseException as error:
            self._settle(error)
        finally:
            tokens.put(None)
            if producer.ident is not None:
                producer.join()  # what is read from must stay open until nobody reads
            self._rest()

    def _keep_pace(self) -> None:
        """Wait while it is too far ahead, until half of that is made up for."""
        with self._lock:
            if self._ahead() > AHEAD:
                while self._ahead() > AHEAD // 2 and not self._settled:
                    self._caught_up.wait()

    def _ahead(self) -> int:
        return 0 if self._pace is None else self._written - self._pace.tell()

    def set_pace(self, follower: Follower) -> None:
        """Do not run far ahead of this follower, who reads on without a pause."""
        with self._lock:
            self._pace = follower
            self._grown.notify_all()  # as one of many it may be asleep

    def set_free(self, follower: Follower) -> None:
        """Who waits for the end, or leaves, sets the pace no more."""
        with self._lock:
            if follower is self._pace:
                self._pace = None
                self._recent.clear()
                self._caught_up.notify_all()

    def catch_up(self, follower: Follower) -> None:
        """One who follows has read on."""
        if follower is self._pace:
            with self._lock:
                self._caught_up.notify_all()

    def cancel(self) -> threading.Thread | None:
        """Give it up unless it is sound and being published; the thread that may take a while to notice."""
        if not self.verified:
            self._settle(_given_up())
        return self._thread

    def wait(self, beyond: int) -> int:
        """How many bytes may be read: more than ``beyond``, or all. Drives where nobody does."""
        if self._visible > beyond:  # it only grows: no lock is needed to see that it is enough
            return self._visible
        while True:
            driving = False
            try:
                with self._lock:
                    # Who waits for the end alone is not woken for every chunk.
                    changed = self._ended if beyond == ALL else self._grown
                    while self._visible <= beyond and not self._settled and self._driven:
                        changed.wait()
                    if self._visible > beyond:
                        return self._visible
                    if self._error is not None:
                        raise self._error
                    if self._settled:
                        return self._visible
                    driving = self._driven = True
                self._consume(self._raw.read(CHUNK))
            except BaseException as error:
                if driving:
                    self._settle(error)
                raise
            finally:
                if driving:
                    self._rest()

    def recent_at(self, offset: int) -> bytes | None:
        """What a piece has from there on, if it still is in memory."""
        with self._lock:
            for start, piece in self._recent:
                if start <= offset < start + len(piece):
                    return piece[offset - start :]
        return None

    def readinto_at(self, offset: int, buffer: WriteableBuffer) -> int:
        try:
            return self._spool.readinto_at(offset, buffer)
        except ShortSpoolError as error:
            raise self._spoilt(self._found) if self._found else error from error

    def new_hasher(self) -> _Hash | None:
        """For a follower that hashes what it reads; None where that is not wanted."""
        return hashlib.new(self._algorithm) if self._rehash else None

    def is_near_end(self, offset: int) -> bool:
        """Whether an offset is among the last bytes, those that are held back until all were found right."""
        return self.verified and self.size is not None and offset > self.size - HELD_BACK

    def judge(self, end: int, hasher: _Hash | None) -> None:
        """Look whether all bytes still are what was found right; raise if not. To be called near the end.

        ``hasher`` has those before ``end``, as they were read. Without, all are read again, where the store
        says that they were changed, or ``rehash`` wants it.
        """
        assert self._found is not None, "near the end all was hashed"
        if hasher is not None:
            found = self._hash_of_rest(hasher.copy(), end)
        elif self._rehash or self._spool.was_changed:
            found = self._hash_of_rest(hashlib.new(self._algorithm), 0)
        else:
            return
        if found != self._found:
            raise self._spoilt(self._found)

    def _spoilt(self, found: Hash) -> LayercacheError:
        """What was published was changed: nobody else follows."""
        with self._lock:
            self._is_spoilt = True
        return self._stage.damaged(found)

    def _hash_of_rest(self, hasher: _Hash, start: int) -> Hash:
        buffer = memoryview(bytearray(CHUNK))
        while start < self._spool.size:
            count = self.readinto_at(start, buffer)
            hasher.update(buffer[:count])
            start += count
        return Hash.from_hasher(hasher)

    def leave(self, follower: Follower) -> None:
        """A follower is done. The last one to leave gives up what was not yet found right."""
        self.set_free(follower)
        with self._lock:
            self._followers -= 1
            # Whoever comes from now on comes too late.
            self._abandoned = not self._followers and not self.verified
        if self._abandoned:
            self._settle(_given_up())
        self._close_what_is_unused()

    def _consume(self, *pieces: bytes) -> None:
        """Hash and spool what has come; nothing is the end."""
        before = self._written
        for piece in filter(None, pieces):
            self._hasher.update(piece)
            self._spool.write(piece)
            if self._pace is not None:
                self._remember(piece)
            self._written += len(piece)
        come = self._written - before
        if come:
            self._stage.progressed(come)
            if self._lead is not None:
                self._lead.beat()
        too_long = self.size is not None and self._written > self.size
        if not come or too_long:
            self._complete()
            return
        with self._lock:
            self._visible = max(0, self._written - HELD_BACK)
            now = time.monotonic()
            # Whoever sets the pace must not sleep while it is waited for.
            if self._pace is not None or self._followers <= FEW or now >= self._woken + PAUSE:
                self._woken = now
                self._grown.notify_all()

    def _remember(self, piece: bytes) -> None:
        with self._lock:
            self._recent.append((self._written, piece))
            while self._recent[0][0] < self._written - AHEAD:
                self._recent.popleft()

    def _complete(self) -> None:
        found = Hash.from_hasher(self._hasher)
        self._stage.verified(found, self._written)
        with self._lock:
            self._found = found
            self.verified = True
            self._visible = self.size = self._written
            self._grown.notify_all()
        self._stage.stored(self._spool, found)
        self._settle(None)

    def _settle(self, error: BaseException | None) -> None:
        """It has ended: well, or with what the followers raise. An interrupt is for its own thread alone."""
        with self._lock:
            if self._settled:
                return
            self._settled = True
            self._error = error if error is None or isinstance(error, Exception) else _given_up()
        try:
            self._stage.settled()
        finally:
            if self._lead is not None:
                self._lead.end()
            with self._lock:
                self._notify()

    def _notify(self) -> None:
        self._caught_up.notify_all()
        self._grown.notify_all()
        self._ended.notify_all()

    def _rest(self) -> None:
        """Whoever drove it does so no more."""
        with self._lock:
            self._driven = False
            self._notify()
        self._close_what_is_unused()

    def _close_what_is_unused(self) -> None:
        with self._lock:
            over = self._settled and not self._driven
            close_raw = over and self._raw_open
            close_spool = over and self._spool_open and not self._followers
            self._raw_open &= not close_raw
            self._spool_open &= not close_spool
        if close_raw:
            with suppress(Exception):  # what was read was judged: how its source ends changes nothing
                self._raw.close()
        if close_spool:
            self._spool.close()


def _pieces(raw: Reader) -> list[bytes]:
    """Some `CHUNK` bytes as they come, nothing only at the end: a frame's blocks need not be joined."""
    pieces: list[bytes] = []
    size = 0
    while size < CHUNK and (piece := raw.read(CHUNK)):
        pieces.append(piece)
        size += len(piece)
    return pieces


def _keep_memory() -> None:
    """Have the C library keep freed memory for the next chunks, which saves a page fault for every page.

    glibc gives what is freed back to the system at once, until it has seen a larger block come and go
    (mallopt(3), M_MMAP_THRESHOLD: "dynamically adjusted"). Elsewhere this does nothing.
    """
    bytes(ARENA)


def _given_up() -> LayercacheError:
    return LayercacheError("the transfer was given up before its end")
