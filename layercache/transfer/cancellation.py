"""Ends what a call waits for, from another thread: the transfers that it reads are given up at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from layercache.transfer.growing import GivenUpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.transfer.follower import Follower

_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


class Cancellation:
    """The transfers that a call reads, or a stream that it has opened. `cancel` may be called by any thread.

    A transfer that others read goes on for them. One that is given up is not finished in the background,
    however much of it has come.
    """

    # The lock guards both attributes. A thread that begins to follow a transfer either is in the list when
    # `cancel` looks, or sees that it is cancelled. Transfers are left without the lock: they have their own.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[int, list[Follower]] = {}
        self._calls: list[Callable[[], object]] = []
        self.cancelled = False

    @contextmanager
    def applies(self) -> Iterator[None]:
        """What this thread begins to read inside the block belongs to it."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def add(self, follower: Follower, source: Follower | None) -> None:
        """The call reads this follower, which is made of what ``source`` reads. Raises `GivenUpError`."""
        with self._lock:
            if not self.cancelled:
                self._read = {key: each for key, each in self._read.items() if not each[0].closed}
                below = self._read.pop(id(source), []) if source is not None else []
                self._read[id(follower)] = [follower, *below]
                return
        follower.give_up()
        raise GivenUpError

    def at_cancel(self, call: Callable[[], object]) -> None:
        """Call this, too, when it is cancelled. Raises `GivenUpError`."""
        with self._lock:
            if not self.cancelled:
                self._calls.append(call)
                return
        raise GivenUpError

    def cancel(self) -> None:
        """End the call: what it waits for raises `GivenUpError`, and whatever else it begins."""
        with self._lock:
            self.cancelled = True
            chains, calls = list(self._read.values()), self._calls
            self._read, self._calls = {}, []
        for call in calls:
            call()
        for chain in chains:
            for follower in chain:  # the tar, then the blob that it is made of, unless others read the tar
                if not follower.give_up():
                    break


def reads(follower: Follower, source: Follower | None = None) -> None:
    """Let what cancels the call of this thread end its reading of a transfer. Raises `GivenUpError`."""
    if (current := _current.get()) is not None:
        current.add(follower, source)


def check_cancelled() -> None:
    """Raise `GivenUpError` if this thread's call was cancelled. For what waits in turns."""
    if (current := _current.get()) is not None and current.cancelled:
        raise GivenUpError


def current() -> Cancellation | None:
    """What cancels the call that this thread is in; None if nothing does."""
    return _current.get()
