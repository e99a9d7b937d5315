"""Writes to far tiers that nobody waits for: a bounded queue, worked off by a few threads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.backend import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

THREADS = 4
WAITING = 64
"""Pieces of work beyond which a thread that adds another one waits: each may hold a file open."""


@dataclass(frozen=True, slots=True)
class _Work:
    do: Callable[[], object]
    about: Hashable
    drop: Callable[[], object]


class UploadQueue:
    """Work that is done soon, in the order in which it came as far as it is about the same thing.

    Work must not add work. `flush` raises what it raised. A forked child begins with an empty queue:
    what its parent has to do, the parent does.
    """

    def __init__(self) -> None:
        self._queue = PerProcess(_Queue)

    def add(
        self, do: Callable[[], object], about: Hashable, *, drop: Callable[[], object] = lambda: None
    ) -> None:
        """Do it in the background, after what was added about the same thing; waits while the queue is full.

        ``drop`` is called instead where it is given up.
        """
        self._queue.get().add(_Work(do, about, drop))

    def flush(self) -> None:
        """Wait until all is done. Raises the first error that came up since the last time."""
        if queue := self._queue.made():
            queue.flush()

    def give_up(self) -> None:
        """Forget what has not begun."""
        if queue := self._queue.made():
            queue.give_up()


class _Queue:
    """The queue of one process. One condition guards all of it; each change wakes all who wait.

    They wait for different things: room, an end, work about something that nobody is busy with. A process has
    `THREADS` of them and few callers, so waking them all costs less than telling them apart.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Work] = deque()
        self._busy: set[Hashable] = set()
        self._threads = 0
        self._error: BaseException | None = None

    def add(self, work: _Work) -> None:
        with self._changed:
            while len(self._waiting) >= WAITING:
                self._changed.wait()
            self._waiting.append(work)
            if self._threads < THREADS and self._threads < len(self._waiting) + len(self._busy):
                self._threads += 1
                threading.Thread(target=self._work, name="layercache uploads").start()
            self._changed.notify_all()

    def flush(self) -> None:
        with self._changed:
            while self._waiting or self._busy:
                self._changed.wait()
            error, self._error = self._error, None
        if error is not None:
            raise error

    def give_up(self) -> None:
        with self._changed:
            while self._waiting:
                self._waiting.popleft().drop()
            self._changed.notify_all()

    def _work(self) -> None:
        while (work := self._next()) is not None:
            error: BaseException | None = None
            try:
                work.do()
            except BaseException as failed:  # `flush` raises it; the next work needs this thread
                error = failed
            with self._changed:
                self._busy.discard(work.about)
                self._error = self._error or error
                self._changed.notify_all()

    def _next(self) -> _Work | None:
        """The oldest work about something that nobody is busy with. None: this thread may end."""
        with self._changed:
            while self._waiting:
                for work in self._waiting:
                    if work.about not in self._busy:
                        self._waiting.remove(work)
                        self._busy.add(work.about)
                        self._changed.notify_all()
                        return work
                self._changed.wait()
            self._threads -= 1
            return None
