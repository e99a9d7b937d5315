"""Writes to far tiers that nobody waits for: a bounded queue, worked off by a few threads."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from msgspec import Struct, field

from layercache.backend import PerProcess
from layercache.backend.capabilities import Counting
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


THREADS = 4
WAITING = 64
"""Pieces of work beyond which a thread that adds another one waits: each may hold a file open."""


class Upload(Struct, eq=False):
    """An object on its way to a tier: ``size`` bytes, ``sent`` of them once it is there.

    ``where`` is the tier's name, ``key`` the object's (`layercache.tiers.keys`), empty for work that sends
    nothing. The thread that sends writes ``sent``, the one that gives it up ``given_up``; anybody may read
    them without a lock.
    """

    where: str = ""
    key: str = ""
    size: int = 0
    sent: int = 0
    given_up: bool = False
    _counting: Counting | None = None

    def follow(self, counting: Counting) -> None:
        """Ask this how far it is."""
        self._counting = counting

    @property
    def so_far(self) -> int:
        """Bytes that the store has, as far as that is known before the end."""
        return self.sent or (min(self._counting.sent, self.size) if self._counting else 0)


class UploadProgress(Value, frozen=True):
    """Uploads to the tier ``where`` since the cache was opened: ``sent`` of ``total`` bytes.

    ``left``: objects that are not there yet, small ones included.
    """

    where: str
    sent: int
    total: int
    left: int


class _Work(Value, frozen=True):
    do: Callable[[], object]
    about: Hashable
    drop: Callable[[], object]
    upload: Upload = field(default_factory=Upload)


class UploadQueue:
    """Work that is done soon, in the order in which it came as far as it is about the same thing.

    Work must not add work. `flush` raises what it raised. A forked child begins with an empty queue:
    what its parent has to do, the parent does.
    """

    def __init__(self) -> None:
        self._queue = PerProcess(_Queue)

    def add(
        self,
        do: Callable[[], object],
        about: Hashable,
        *,
        drop: Callable[[], object] = lambda: None,
        upload: Upload | None = None,
    ) -> None:
        """Do it in the background, after what was added about the same thing; waits while the queue is full.

        ``drop`` is called instead where it is given up. ``upload`` is what `progress` counts.
        """
        self._queue.get().add(_Work(do, about, drop, upload or Upload()))

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all is done, ``timeout`` seconds at most. Raises the first error since the last time."""
        if queue := self._queue.made():
            queue.flush(timeout)

    def wait_for(self, about: Hashable) -> None:
        """Wait until nothing is left to do about one thing. What it raised is for `flush` to raise."""
        if queue := self._queue.made():
            queue.wait_for(about)

    def give_up(self) -> list[Upload]:
        """Forget what has not begun, and ask what has begun to stop. Returns what is not sent."""
        queue = self._queue.made()
        return queue.give_up() if queue else []

    def pending(self, where: str, key: str) -> Upload | None:
        """The upload of an object to a tier that has neither ended nor been given up."""
        queue = self._queue.made()
        return queue.pending(where, key) if queue else None

    def progress(self) -> list[UploadProgress]:
        queue = self._queue.made()
        return queue.progress() if queue else []


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
        self._unsent: dict[Upload, None] = {}  # in order; what was given up stays
        self._sent: dict[str, int] = defaultdict(int)

    def add(self, work: _Work) -> None:
        with self._changed:
            while len(self._waiting) >= WAITING:
                self._changed.wait()
            self._waiting.append(work)
            if work.upload.key:
                self._unsent[work.upload] = None
            if self._threads < THREADS and self._threads < len(self._waiting) + len(self._busy):
                self._start(work)
            self._changed.notify_all()

    def _start(self, added: _Work) -> None:
        """Start another thread. If there is none, what was added is given up: nobody would do it."""
        self._threads += 1
        try:
            threading.Thread(target=self._work, name="layercache uploads").start()
        except RuntimeError:  # the system has no more threads, or the interpreter ends
            self._threads -= 1
            if not self._threads:
                self._waiting.remove(added)
                self._unsent.pop(added.upload, None)
                added.drop()
                raise

    def flush(self, timeout: float | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def wait_for(self, about: Hashable) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: about not in self._busy and all(work.about != about for work in self._waiting)
            )

    def give_up(self) -> list[Upload]:
        with self._changed:
            while self._waiting:
                self._waiting.popleft().drop()
            for upload in self._unsent:
                upload.given_up = True
            self._changed.notify_all()
            return list(self._unsent)

    def pending(self, where: str, key: str) -> Upload | None:
        with self._changed:
            for upload in self._unsent:
                if (upload.where, upload.key, upload.given_up) == (where, key, False):
                    return upload
        return None

    def progress(self) -> list[UploadProgress]:
        with self._changed:
            unsent = list(self._unsent)
            done = dict(self._sent)
        places = dict.fromkeys([*done, *(upload.where for upload in unsent)])
        found = []
        for where in places:
            here = [upload for upload in unsent if upload.where == where]
            sent, finished = sum(upload.so_far for upload in here), done.get(where, 0)
            total = finished + sum(upload.size for upload in here)
            found.append(UploadProgress(where, min(finished + sent, total), total, len(here)))
        return found

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
                self._end(work.upload)
                self._changed.notify_all()

    def _end(self, upload: Upload) -> None:
        """Count what was sent. What was there already was not, and is not of the total any more."""
        if upload.key and not (upload.given_up and upload.sent < upload.size):
            self._sent[upload.where] += upload.sent
            self._unsent.pop(upload, None)

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
