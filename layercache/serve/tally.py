"""Counts what one worker does, and adds up what all of them did.

Each worker writes its counts into a file of a folder that they share, about once a second, and the one that
is asked for metrics adds up the files. So a count costs no system call, and nothing is lost with a worker but
its last second. A file has the number of a worker; a worker that follows another one continues its counts.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import msgspec

from layercache.oci.descriptor import NOT_VALID
from layercache.statistics.totals import PLACES, Day, summed
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from layercache.statistics.counters import Counters

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
"""Seconds: the upper bounds of the buckets of the histogram of latencies."""

Key = tuple[str, str, int, str]
"""What requests have in common: the kind of their path, method, status and what the cache had."""


class Requests(msgspec.Struct, array_like=True):
    """Requests with the same key: how many, bytes of their answers, seconds until these began, in total and
    as a histogram.
    """

    kind: str
    method: str
    status: int
    cache: str
    count: int = 0
    size: int = 0
    seconds: float = 0.0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    @property
    def key(self) -> Key:
        return (self.kind, self.method, self.status, self.cache)

    def add(self, other: Requests) -> None:
        self.count += other.count
        self.size += other.size
        self.seconds += other.seconds
        self.buckets = [one + more for one, more in zip(self.buckets, other.buckets, strict=True)]


class Counts(msgspec.Struct):
    """What workers have done, and what they are doing now.

    ``saved_seconds``: by tier, the processor time of inflating that was not needed.
    """

    requests: list[Requests] = []
    cache: Day = msgspec.field(default_factory=lambda: Day(""))
    saved_seconds: dict[str, float] = {}
    in_flight: int = 0
    log_lines_dropped: int = 0


def total(all_counts: Iterable[Counts]) -> Counts:
    """All of them as one."""
    found: dict[Key, Requests] = {}
    result, days = Counts(), []
    for counts in all_counts:
        for each in counts.requests:
            found.setdefault(each.key, Requests(*each.key)).add(each)
        for tier, seconds in counts.saved_seconds.items():
            result.saved_seconds[tier] = result.saved_seconds.get(tier, 0.0) + seconds
        days.append(counts.cache)
        result.in_flight += counts.in_flight
        result.log_lines_dropped += counts.log_lines_dropped
    result.requests = list(found.values())
    result.cache = summed(days, places=PLACES)
    return result


class Tally:
    """The counts of this worker, and the files of all. Thread-safe.

    ``counters``: of the worker's cache, at this moment. ``folder``: for the files; None: this worker is the
    only one. ``number``: of the worker, which no other running one has.
    """

    # The lock guards what requests have done and what was saved: they are counted in the event loop, and the
    # counts are read and written in threads.

    def __init__(
        self, counters: Callable[[], Counters], *, folder: str | None = None, number: int = 0
    ) -> None:
        self._counters = counters
        self._folder = folder
        self._file = os.path.join(folder, f"{number}.json") if folder else ""
        self._lock = threading.Lock()
        self._requests: dict[Key, Requests] = {}
        self._before = _read(self._file)
        self._before.in_flight = 0
        self._saved_seconds: dict[str, float] = {}
        self._tars: dict[str, int] = {}
        self._written = b""
        self._in_flight = 0
        self.log_lines_dropped: Callable[[], int] = lambda: 0

    def begin(self) -> None:
        """A request has arrived. Called in the event loop, as `end` is, so its number needs no lock."""
        self._in_flight += 1

    def end(self, key: Key, size: int, seconds: float) -> None:
        """A request was answered: bytes of the body, and seconds until the answer began."""
        self._in_flight -= 1
        with self._lock:
            row = self._requests.get(key) or self._requests.setdefault(key, Requests(*key))
            row.count += 1
            row.size += size
            row.seconds += seconds
            row.buckets[bisect_left(BOUNDS, seconds)] += 1

    def counts(self) -> Counts:
        """What this worker, and those that had its number before, have done."""
        done = Day.of("", self._counters())
        with self._lock:
            for each in done.places:
                self._note_saved(each.name, each.saved_tar_bytes, done.rate)
            mine = Counts(
                requests=list(self._requests.values()),
                cache=done,
                saved_seconds=self._saved_seconds,
                in_flight=self._in_flight,
                log_lines_dropped=self.log_lines_dropped(),
            )
            return total([self._before, mine])

    def _note_saved(self, tier: str, tar_bytes: int, rate: float) -> None:
        """Count the time for what was added since the last call: the rate may change, the sum only grows."""
        if more := tar_bytes - self._tars.get(tier, 0):
            self._tars[tier] = tar_bytes
            self._saved_seconds[tier] = self._saved_seconds.get(tier, 0.0) + more / rate

    def save(self) -> None:
        """Write the file, if anything has changed. A full disk is not an error: the next one may fit."""
        if self._file and (data := msgspec.json.encode(self.counts())) != self._written:
            new = f"{self._file}.new"
            with suppress(OSError):
                with open(new, "wb") as file:
                    file.write(data)
                os.replace(new, self._file)
                self._written = data

    def of_all_workers(self) -> Counts:
        """What all workers have done, others up to their last second. Later answers are never less."""
        self.save()
        others = []
        if self._folder:
            names = [name for name in os.listdir(self._folder) if name.endswith(".json")]
            paths = [os.path.join(self._folder, name) for name in names]
            others = [_read(path) for path in paths if path != self._file]
        return total([self.counts(), *others])


def _read(path: str) -> Counts:
    """The counts of a file; none if there is no file, or it cannot be read."""
    with suppress(OSError, *NOT_VALID), open(path, "rb") as file:
        return cast("Counts", json_decoder(Counts).decode(file.read()))
    return Counts()
