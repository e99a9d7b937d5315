"""What a worker is doing and what went wrong in it, as the page shows it for all workers together.

Each worker writes a small file into a folder that the workers of a mirror share, and the one that is asked
for the page reads them all. A file is replaced in one step, so that no reader sees a part of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from layercache.errors import LayercacheError
from layercache.oci.descriptor import NOT_VALID
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.events import Event
    from layercache.statistics.counters import Counters

SUFFIX = ".activity"
ERRORS_MAX = 20
MINUTES = 60
TEXT_MAX = 500
"""Characters of a text that came from elsewhere."""

SILENT = 90.0
"""Seconds without a byte after which a transfer counts as ended: a read of a registry waits for 60."""

STALE = 10.0
"""Seconds after which the file of a worker counts as that of one that was killed."""


class Running(msgspec.Struct):
    """A blob on its way, or a tar that is being inflated. ``where``: from.

    ``began``, ``last``: when it began, and when its last bytes came (seconds since 1970).
    """

    name: str
    form: str
    kind: str
    where: str
    began: float
    done: int = 0
    total: int | None = None
    last: float = 0.0


class Failure(msgspec.Struct):
    """Something that went wrong. ``hint``: what to do about it. ``repository``: with its registry, if any."""

    at: float
    what: str
    hint: str = ""
    times: int = 1
    repository: str = ""


class Minute(msgspec.Struct):
    """What happened in a minute. ``at``: its begin, seconds since 1970."""

    at: int
    hits: int = 0
    fetched: int = 0
    saved_bytes: int = 0
    fetched_bytes: int = 0


class WorkerState(msgspec.Struct):
    """The file of a worker."""

    process: int
    at: float
    running: list[Running] = []
    errors: list[Failure] = []
    minutes: list[Minute] = []


class Activity:
    """Follows the events of a worker's cache. Thread-safe, but for `save`, which is called in one thread.

    ``counters`` returns the cache's totals; ``record`` is called once a minute. ``number``: of the worker,
    which no other running one has.
    """

    # The lock guards the dictionary and the queue of errors: events come from many threads, and `save` takes
    # copies. Bytes are added without it: those of one transfer come from one thread.

    def __init__(
        self, folder: str, number: int, counters: Callable[[], Counters], record: Callable[[], object]
    ) -> None:
        self._file = os.path.join(folder, f"{number}{SUFFIX}")
        self._counters = counters
        self._record = record
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Running] = {}
        self._errors: deque[Failure] = deque(maxlen=ERRORS_MAX)
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._before = counters()
        self._written = 0.0
        self._changed = True

    def watch(self, event: Event) -> None:
        """Follow one event."""
        if event.kind == "failed":
            # A mirror's name is that of a repository in it; nobody is shown more than a tier's.
            self.failed(event.note or "failed", about=str(event.name or event.where), repository=event.where)
        if event.name is None:
            return
        key = (event.name, event.form)
        if event.kind == "bytes":
            if running := self._running.get(key):
                running.done += event.size
                running.last = time.time()
                self._changed = True
            return
        with self._lock:
            match event.kind:
                case "fetching" | "inflating" | "waiting":
                    done = event.size if event.kind == "waiting" else 0
                    where = event.note if event.kind == "waiting" else event.where
                    self._running[key] = Running(
                        str(event.name),
                        event.form,
                        event.kind,
                        where[:TEXT_MAX],
                        now := time.time(),
                        done,
                        event.total,
                        now,
                    )
                case "fetched" | "inflated" | "failed" | "given_up" | "hit":
                    self._running.pop(key, None)
                case _:
                    return
            self._changed = True

    def failed(self, error: LayercacheError | str, *, about: str = "", repository: str = "") -> None:
        """Remember an error. The same one again only counts."""
        what, hint = (error.message, error.hint) if isinstance(error, LayercacheError) else (error, "")
        if about and about not in what:
            what = f"{about}: {what}"
        what = what[:TEXT_MAX]
        with self._lock:
            same = next((each for each in self._errors if each.what == what), None)
            if same is not None:
                self._errors.remove(same)
            times = same.times + 1 if same else 1
            self._errors.append(Failure(time.time(), what, hint[:TEXT_MAX], times, repository))
            self._changed = True

    def save(self) -> None:
        """Write the file, if anything has changed or it would soon count as a killed worker's."""
        self._count()
        self._forget_silent()
        if self._changed or time.time() - self._written > STALE / 3:
            self._changed = False
            with suppress(OSError):  # a full disk costs the page, nothing else
                self._write()

    def close(self) -> None:
        with suppress(OSError):
            os.unlink(self._file)

    def _forget_silent(self) -> None:
        """Forget what gets no bytes: the error of a transfer goes to its readers, and is no event."""
        with self._lock:
            silent = [key for key, each in self._running.items() if time.time() - each.last > SILENT]
            for key in silent:
                del self._running[key]
        self._changed |= bool(silent)

    def _count(self) -> None:
        """Add what has happened since the last time to the present minute."""
        now, at = self._counters(), int(time.time()) // 60 * 60
        done, self._before = now - self._before, now
        is_new = not self._minutes or self._minutes[-1].at != at
        if is_new:
            self._minutes.append(Minute(at))
            self._record()
        minute = self._minutes[-1]
        minute.hits += done.hits
        minute.fetched += done.fetched
        minute.fetched_bytes += done.fetched_bytes
        minute.saved_bytes += sum(each.saved_bytes for each in done.places)
        self._changed |= is_new or bool(done.hits or done.fetched or done.fetched_bytes)

    def _write(self) -> None:
        self._written = time.time()
        with self._lock:
            state = WorkerState(
                os.getpid(),
                self._written,
                list(self._running.values()),
                list(self._errors),
                list(self._minutes),
            )
            data = msgspec.json.encode(state)
        with open(f"{self._file}.new", "wb") as file:
            file.write(data)
        os.replace(f"{self._file}.new", self._file)


def all_workers(folder: str) -> list[WorkerState]:
    """What the workers that are alive have written."""
    found = []
    for name in os.listdir(folder):
        if name.endswith(SUFFIX):
            with suppress(OSError, *NOT_VALID):
                with open(os.path.join(folder, name), "rb") as file:
                    state = json_decoder(WorkerState).decode(file.read())
                if time.time() - state.at < STALE:
                    found.append(state)
    return found


def by_minute(states: list[WorkerState]) -> list[Minute]:
    """The last hour of all workers, oldest first; a minute in which nothing happened counts, too."""
    last = int(time.time()) // 60 * 60
    minutes = {at: Minute(at) for at in range(last - 60 * (MINUTES - 1), last + 60, 60)}
    for state in states:
        for each in state.minutes:
            if total := minutes.get(each.at):
                total.hits += each.hits
                total.fetched += each.fetched
                total.saved_bytes += each.saved_bytes
                total.fetched_bytes += each.fetched_bytes
    return list(minutes.values())
