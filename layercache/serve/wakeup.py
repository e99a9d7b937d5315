"""Wakes the first process of the mirror, out of a signal handler too."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Wakeup:
    """As `threading.Event`, for one thread that waits; ``pending``: whether there is something to do.

    A signal handler runs in the main thread, in the middle of anything. An Event has a lock, which that
    thread holds for a moment in `wait` and `clear`: a handler that sets the Event then waits for the lock for
    ever, and so does each later one. `SimpleQueue.put` is reentrant. What is cleared just after it was set is
    not lost either, since ``pending`` is asked before each wait.
    """

    def __init__(self, pending: Callable[[], object]) -> None:
        self._pending = pending
        self._set: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        self._set.put(None)

    def is_set(self) -> bool:
        return not self._set.empty()

    def clear(self) -> None:
        with suppress(Empty):
            while True:
                self._set.get_nowait()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or something is pending. False after ``timeout`` seconds."""
        if not self._pending():
            try:
                self._set.get(timeout=timeout)
            except Empty:
                return False
            self.set()
        return True
