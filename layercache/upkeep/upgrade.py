"""Converts a store of the earlier format in place: its associations become records.

First every association is recorded, then the marker is written, then the associations are removed. Until the
marker is there, the store is as it was for older versions, and this one refuses it; from then on it is
complete for this one. So an upgrade may be killed at any time and run again, also by several at once. What an
older version writes meanwhile is converted before it is removed.
"""

from __future__ import annotations

import threading
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.errors import ConfigError, ForbiddenError, FormatError, NotFoundError
from layercache.streams.readers import read_bounded
from layercache.tiers import format
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.gate import command_of, ungated
from layercache.upkeep.earlier import FOLDERS, decode, is_association, keys_of, remove_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS_FAR, THREADS_NEAR = 32, 1
"""How many associations are read, recorded and removed at a time, in a bucket and on this machine."""

PENDING_PER_THREAD = 4
"""Objects queued for each thread: bounds memory, however many there are."""

STOP_SECONDS = 3.0
"""Seconds to wait for the threads if it is interrupted."""


@dataclass(slots=True)
class Upgraded:
    """What was done, or would be done in a dry run.

    ``found``: the format that the store had, 1 for the earlier one; 0 if it is new, or another tool's.
    ``associations``: how many became records. ``torn``: objects that are none, and were never used.
    ``removed``: objects of the earlier format. ``refused``: those that only another user may remove.
    """

    tier: str
    found: int = 0
    associations: int = 0
    torn: int = 0
    removed: int = 0
    refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


class Upgrade:
    """One upgrade of one tier; ``report`` is kept up to date while it runs.

    ``jobs``: how many objects are worked on at a time. ``dry_run``: read everything, and write nothing.
    """

    def __init__(self, tier: BackendTier, *, jobs: int | None = None, dry_run: bool = False) -> None:
        if tier.policy.readonly and not dry_run:
            raise ConfigError(f"{tier.name} is read-only", hint="upgrade it where it may be written to")
        self.report = Upgraded(tier.name)
        self._backend = ungated(tier.backend)
        self._command = partial(command_of, tier.backend)
        self._facts = BackendTier(self._backend, tier.policy).facts
        self._jobs = jobs or (THREADS_FAR if tier.remote else THREADS_NEAR)
        self._dry_run = dry_run
        # Objects whose facts are recorded, by the hashes of their names: 65 bytes each. Threads add to it and
        # look into it; each is one operation.
        self._done: set[int] = set()

    def run(self) -> Upgraded:
        """Convert everything. Call it once.

        Raises `StoreFormatError` for a store of a newer format, `BackendError`.
        """
        marker, report = format.read_marker(self._backend), self.report
        if marker is not None and (marker.format or 0) >= format.FORMAT:
            if marker.format != format.FORMAT:
                format.is_marked(self._backend, self._command)  # raises, and says what to do
            report.found = format.FORMAT
        elif marker is not None or format.has_earlier(self._backend):
            report.found = 1
        else:
            return report
        self._each(self._convert)
        if not self._dry_run:
            self._mark(broken=marker is not None)
            self._remove_all()
        return report

    def _mark(self, *, broken: bool) -> None:
        if self.report.found == format.FORMAT:
            return
        if broken:
            format.replace_marker(self._backend)
        else:
            format.write_marker(self._backend, self._command)

    def _remove_all(self) -> None:
        """Remove the associations: again and again, since a listing may skip what others remove meanwhile."""
        before = -1
        while self.report.removed > before:
            before, self.report.refused = self.report.removed, 0
            self._each(self._remove)
        remove_folders(self._backend)

    def _keys(self, folder: str) -> Iterator[str]:
        return (entry.key for entry in self._backend.scan(folder) if is_association(entry.key))

    def _each(self, work: Callable[[str], None]) -> None:
        """Call with the name of each association, in threads; a folder is finished before the next one."""
        if self._jobs == 1:  # handing over costs as much as the work itself on a local disk
            for folder in FOLDERS:
                for key in self._keys(folder):
                    work(key)
            return
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="layercache upgrades")
        pending: set[Future[None]] = set()
        try:
            for folder in FOLDERS:
                for key in self._keys(folder):
                    pending.add(pool.submit(work, key))
                    if len(pending) >= self._jobs * PENDING_PER_THREAD:
                        pending = _finished(pending, FIRST_COMPLETED)
                pending = _finished(pending, ALL_COMPLETED)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            wait(pending, timeout=STOP_SECONDS)
            raise
        pool.shutdown()

    def _convert(self, key: str) -> None:
        if hash(key) in self._done:
            return
        try:
            with self._backend.open(key) as reader:
                fact = decode(key, read_bounded(reader, SMALL_OBJECT, key))
        except NotFoundError:  # another upgrade has removed it
            return
        except FormatError:
            fact = None
        if fact is None:
            self._done.add(hash(key))
            self.report.add(torn=1)
            return
        if not self._dry_run:
            self._facts.record(fact)
        self._done.update(map(hash, keys_of(fact)))
        self.report.add(associations=1)

    def _remove(self, key: str) -> None:
        self._convert(key)
        try:
            self._backend.delete(key)
        except ForbiddenError:
            self.report.add(refused=1)
        else:
            self.report.add(removed=1)


def _finished(pending: set[Future[None]], when: str) -> set[Future[None]]:
    """Wait, raise what failed, and return what is still pending."""
    done, pending = wait(pending, return_when=when)
    for each in done:
        each.result()
    return pending
