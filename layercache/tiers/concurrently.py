"""Questions that are asked at once, since each answer takes a while to come."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

THREADS = 16

_T = TypeVar("_T")


class FanOut:
    """Calls several functions in threads. The threads are made when they are needed; a fork has its own."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    def __call__(self, *calls: Callable[[], _T]) -> list[_T]:
        """What each returns, in order; raises what the first of them raises that fails."""
        if len(calls) < 2:
            return [call() for call in calls]
        return list(self._threads().map(lambda call: call(), calls))

    def close(self) -> None:
        """Let the threads end. Closing twice is no error, and others are made when they are needed."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.shutdown(wait=False)

    def _threads(self) -> ThreadPoolExecutor:
        pool = self._pool
        if pool is None or self._pid != os.getpid():
            from concurrent.futures import ThreadPoolExecutor

            # Two threads may make one each: both work, the later one is kept.
            self._pid = os.getpid()
            pool = self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="layercache asks")
        return pool
