"""Questions that are asked at once, since each answer takes a while to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from layercache.backend import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

THREADS = 16

_T = TypeVar("_T")


class FanOut:
    """Calls several functions in threads. The threads are made when they are needed; a fork has its own."""

    def __init__(self) -> None:
        self._pool = PerProcess(_threads)

    def __call__(self, *calls: Callable[[], _T]) -> list[_T]:
        """What each returns, in order; raises what the first of them raises that fails."""
        if len(calls) < 2:
            return [call() for call in calls]
        return list(self._pool.get().map(lambda call: call(), calls))

    def start(self, call: Callable[[], _T]) -> Callable[[], _T]:
        """Call it in a thread, beside what this one does; return what waits for its answer, or raises.

        Without a thread for it, it is called when its answer is needed.
        """
        try:
            return self._pool.get().submit(call).result
        except RuntimeError:  # there are too many threads, or the interpreter is ending
            return call

    def close(self) -> None:
        """Let the threads end. Closing twice is not an error, and others are made when they are needed."""
        if (pool := self._pool.take()) is not None:
            pool.shutdown(wait=False)


def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(THREADS, thread_name_prefix="layercache asks")
