"""Threads in which blocking calls run, for an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.transfer.cancellation import Cancellation

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """As many threads as calls are running at a time; idle ones are used again.

    There is no limit: a thread may wait for bytes that another call brings, so with a limit calls could wait
    for each other without end. The threads are daemons: one that waits for a source that has stopped sending
    would hold up the end of the program.
    """

    # `deque.append` and `pop` are single steps, so no lock is needed: a worker is in `_idle` once, and
    # what pops it is alone in giving it a job. So are `add`, `discard` and copying of `_cancelling`.

    def __init__(self) -> None:
        self._idle: deque[SimpleQueue[Callable[[], object] | None]] = deque()
        self._cancelling: set[threading.Event] = set()
        self._closed = False

    async def call(
        self, cancellation: Cancellation, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a blocking function in a thread; return or raise what it does.

        If the task is cancelled, this ends at once: transfers that the function reads are given up, and the
        thread ends by itself.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        context = copy_context()

        def work() -> None:
            try:
                with cancellation.applies():
                    settle = partial(done.set_result, function(*args, **kwargs))
            except StopIteration as error:  # a future cannot raise it
                settle = partial(done.set_exception, RuntimeError(f"{error!r} in a thread"))
            except BaseException as error:
                settle = partial(done.set_exception, error)
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if done.done() else settle())

        self._run(context, work)
        try:
            return await done
        except asyncio.CancelledError:
            cancellation.cancelled = True  # closing a stream from now on does not wait for it
            self._cancel(context.copy(), cancellation)
            raise

    def _cancel(self, context: Context, cancellation: Cancellation) -> None:
        """In a thread, as it takes locks, and calls watchers."""
        ended = threading.Event()
        self._cancelling.add(ended)

        def cancel() -> None:
            try:
                cancellation.cancel()
            finally:
                self._cancelling.discard(ended)
                ended.set()

        self._run(context, cancel)

    def wait_for_cancelled(self) -> None:
        """Wait until the transfers of all cancelled calls are given up, so that nobody finishes them."""
        for ended in self._cancelling.copy():
            ended.wait()

    def start(self, work: Callable[[], object]) -> None:
        """Run it in a thread; nobody waits for that."""
        self._run(copy_context(), work)

    def close(self) -> None:
        """End the threads that are idle, and each of the others when it has done its work."""
        self._closed = True
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().put(None)

    def _run(self, context: Context, work: Callable[[], object]) -> None:
        try:
            jobs = self._idle.pop()
        except IndexError:
            jobs = SimpleQueue()
            threading.Thread(target=self._work, args=(jobs,), name="layercache aio", daemon=True).start()
        jobs.put(lambda: context.run(work))

    def _work(self, jobs: SimpleQueue[Callable[[], object] | None]) -> None:
        while (job := jobs.get()) is not None:
            with suppress(Exception):  # what a caller waits for is handed over by the job itself
                job()
            del job  # its result may be big
            if self._closed:
                return
            self._idle.append(jobs)
            if self._closed:  # `close` may have looked just before
                self.close()
