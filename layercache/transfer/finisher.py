"""Transfers that all readers gave up, and that go on because much of their cost was paid already."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from layercache.backend import PerProcess

if TYPE_CHECKING:
    from layercache.transfer.share import Share

THREADS = 4
"""Transfers that go on at a time: each has a connection, and most of a core if it is inflated."""

WAITING = 16
"""Transfers that wait for one of the threads, each with a connection and a spool. More are given up."""


class Unread(Protocol):
    """A transfer that has lost its readers."""

    def finish(self) -> None:
        """See it to its end. Raises nothing."""

    def drop(self) -> None:
        """Give it up before it was seen to its end, if it has no readers."""

    def cancel(self) -> object:
        """Make `finish` end soon."""


class Finisher:
    """Sees transfers to their end that have no readers any more, a few at a time. Thread-safe.

    A forked child has its own, empty one; what its parent has begun, the parent finishes.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self._queues = PerProcess(Queue)

    def queue(self) -> Queue:
        """That of this process."""
        return self._queues.get()

    def wait(self) -> None:
        """Wait until all have ended."""
        if queue := self._queues.made():
            queue.wait()

    def close(self) -> None:
        """Give up all of them, and take no more."""
        self._queues.get().close()


class Queue:
    """What one process finishes."""

    # One condition guards all attributes but `_closed`, which only ever becomes true. Its lock is reentrant:
    # a follower that was not closed leaves when it is collected, and the collector may run inside any of
    # these blocks, in the thread that holds the lock. So `add` may be called inside every other method.
    #
    # A transfer has its own locks, and holds none of them when it calls `add`; its other methods are called
    # without the condition.
    #
    # The threads are daemons: this work only saves work, so a program that ends without closing its cache
    # does not wait for it.

    def __init__(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[Unread] = deque()
        self._running: list[Unread] = []
        self._threads = 0
        self._closed = False

    @property
    def takes_more(self) -> bool:
        """Whether `add` may succeed: not in a forked child, nor after `close`."""
        return not self._closed and self._process == os.getpid()

    def add(self, transfer: Unread) -> bool:
        """See a transfer to its end in the background; False if there are too many."""
        with self._changed:
            if self._closed or len(self._waiting) >= WAITING:
                return False
            self._waiting.append(transfer)
            if self._threads < THREADS:
                try:
                    threading.Thread(target=self._work, name="layercache finishes", daemon=True).start()
                    self._threads += 1
                except RuntimeError:  # the system has no more threads, or the interpreter ends
                    if not self._threads:
                        self._waiting.remove(transfer)
                        return False
        return True

    def wait(self) -> None:
        with self._changed:
            while self._waiting or self._running:
                self._changed.wait()

    def close(self) -> None:
        self._closed = True
        with self._changed:
            waiting, running = list(self._waiting), list(self._running)
            self._waiting.clear()
            self._changed.notify_all()
        for transfer in waiting:
            transfer.drop()
        for transfer in running:
            transfer.cancel()

    def _work(self) -> None:
        while (transfer := self._next()) is not None:
            try:
                transfer.finish()
            finally:
                with self._changed:
                    self._running.remove(transfer)
                    self._changed.notify_all()

    def _next(self) -> Unread | None:
        with self._changed:
            if not self._waiting:
                self._threads -= 1
                return None
            transfer = self._waiting.popleft()
            self._running.append(transfer)
            return transfer
