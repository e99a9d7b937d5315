"""Blobs of a bucket that are used get a new time, so that a lifecycle rule deletes only those that are not.

A rule of a bucket can only count from the time at which an object was written, and deletes what a team uses
each day together with what nobody does. So a blob that is read, and whose time is older than a day, gets the
time of now. The request is sent in the background. It only affects what is deleted, so its failures are not
reported; after one, none is sent for a while. Facts and tags are so small that no rule needs to delete them.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import CircuitBreaker, PerProcess
from layercache.backend.capabilities import Touchable
from layercache.errors import LayercacheError
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from layercache.backend import Backend
    from layercache.oci.digest import Hash
    from layercache.tiers.policy import Policy

DAY = 86400.0
"""Seconds after which a blob that is used gets a new time, or a quarter of the tier's ``max_age``."""

REST = 600.0
"""Seconds for which no request is sent after one has failed: who may only read is refused each time."""

THREADS = 8
REMEMBERED = 100_000
"""Blobs of which a process remembers that it has refreshed them."""


class Use:
    """Refreshes the times of a store's blobs. Thread-safe; a forked child starts empty."""

    def __init__(self, backend: Backend, policy: Policy) -> None:
        wanted = policy.touch and not policy.readonly
        self._backend = backend if wanted and isinstance(backend, Touchable) else None
        self._after = DAY if policy.max_age is None else min(DAY, policy.max_age / 4)
        self._breaker: CircuitBreaker[LayercacheError] = CircuitBreaker(REST)
        self._refreshing = PerProcess(_Refreshing)
        self.report: Callable[[Hash], object] = lambda _name: None
        """Called with the name of each blob whose time was refreshed, in the thread that did it."""

    def note(self, name: Hash, modified: float | None) -> None:
        """Note that a blob is used; ``modified``: its time (seconds since the epoch) as it was read."""
        if self._backend is None or modified is None or time.time() - modified <= self._after:
            return
        self._refreshing.get().start(name, self._refresh, self._after)

    def close(self) -> None:
        """Wait for the requests."""
        if refreshing := self._refreshing.made():
            refreshing.close()

    def _refresh(self, name: Hash) -> None:
        if self._backend is None or self._breaker.is_open:
            return
        try:
            self._backend.touch(keys.blob(name))
        except LayercacheError as error:
            self._breaker.open(error)
        else:
            self.report(name)


class _Refreshing:
    """The threads of one process, and what they were given. The lock guards both attributes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[Hash, float] = {}
        self._pool: ThreadPoolExecutor | None = None

    def start(self, name: Hash, refresh: Callable[[Hash], object], after: float) -> None:
        """Refresh a blob in the background, unless that was begun less than ``after`` seconds ago."""
        from concurrent.futures import ThreadPoolExecutor

        now = time.monotonic()
        with self._lock:
            if now - self._begun.get(name, -after) < after:
                return
            if len(self._begun) >= REMEMBERED:
                self._begun.clear()
            self._begun[name] = now
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="layercache refreshes")
            with suppress(RuntimeError):  # the interpreter is about to end
                self._pool.submit(refresh, name)

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)
