"""How far a blob may run ahead of what is made of it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

AHEAD = 8 << 20
"""Bytes that a blob may be ahead of the inflater that sets its pace; so many stay in memory for it.

Making the tar is the longest part of a pass. Where cores are few, what runs far ahead of it takes a core from
it first, and leaves one idle in the end.
"""


class Follows(Protocol):
    @property
    def position(self) -> int: ...


class Pace:
    """The follower that a transfer does not run far ahead of: the inflater; and the bytes between the two.

    Where the inflater is driven by a reader, who may pause, it is not waited for: only the bytes are kept.
    """

    # Two threads meet here: the one that reads the source sleeps in `keep` until the one that inflates has
    # caught up. The lock guards all attributes; `keep` sleeps with it, and the inflater needs the lock of the
    # spool to get on, so the two locks are never held together, in neither order.
    #
    # `notify` would do: one thread alone waits here. `notify_all` costs the same, and needs no such promise.
    #
    # An RLock for the same reason as in `GrowingSpool`: a follower that is collected frees the pace.
    #
    # `_setter` is read without the lock where a transfer without a pace, or a follower that does not set it,
    # has to find out in no time. A pace that is set a moment later counts from the next chunk.
    #
    # Nobody is held back for long: a separate thread sleeps in `keep`, never a reader; and the follower
    # that sets the pace loses it when it waits for the end, leaves, or when the transfer has ended.

    def __init__(self, written: Callable[[], int]) -> None:
        self._written = written
        self._lock = threading.RLock()
        self._caught_up = threading.Condition(self._lock)
        self._setter: Follows | None = None
        self._holds = False
        self._recent: deque[tuple[int, bytes]] = deque()
        self._stopped = False

    @property
    def is_set(self) -> bool:
        """Whether the transfer waits for a follower."""
        return self._setter is not None and self._holds

    def set(self, follower: Follows, *, holds: bool = True) -> None:
        """Keep in memory what this follower reads next; ``holds``: and do not run far ahead of it."""
        with self._lock:
            self._setter, self._holds = follower, holds

    def free(self, follower: Follows) -> None:
        """Go on at full speed if this follower has set the pace: it leaves, or waits for the end."""
        if follower is self._setter:
            with self._lock:
                self._setter = None
                self._recent.clear()
                self._caught_up.notify_all()

    def catch_up(self, follower: Follows) -> None:
        """A follower has read on."""
        if follower is self._setter:
            with self._lock:
                while self._recent and self._end_of_oldest() <= follower.position:
                    self._recent.popleft()
                self._caught_up.notify_all()

    def stop(self) -> None:
        """The transfer has ended: nothing is held back any more."""
        with self._lock:
            self._stopped = True
            self._caught_up.notify_all()

    def keep(self) -> None:
        """Wait while the transfer is too far ahead, until half of that is made up for."""
        if not self.is_set:
            return
        with self._lock:
            if self._ahead() > AHEAD:
                while self._ahead() > AHEAD // 2 and not self._stopped:
                    self._caught_up.wait()

    def _ahead(self) -> int:
        return 0 if self._setter is None else self._written() - self._setter.position

    def remember(self, offset: int, piece: bytes) -> None:
        """Keep a piece in memory for the follower that sets the pace, if one does."""
        if self._setter is None:
            return
        with self._lock:
            if self._setter is not None:
                self._recent.append((offset, piece))
                while self._recent[0][0] < offset - AHEAD:
                    self._recent.popleft()

    def _end_of_oldest(self) -> int:
        start, piece = self._recent[0]
        return start + len(piece)

    def recent_at(self, offset: int) -> bytes | None:
        """What a piece has from there on, if it still is in memory."""
        if not self._recent:
            return None
        with self._lock:
            for start, piece in self._recent:
                if start <= offset < start + len(piece):
                    return piece[offset - start :]
        return None
