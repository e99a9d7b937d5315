"""Events of a cache for ``async for``."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from layercache.events import Event, Kind

WAITING = 10_000
"""Events that wait for a slow reader. Beyond that the oldest are dropped, and counted."""


class Events:
    """The events of a cache inside its ``async with`` block, in the order in which they happened.

    The iteration ends when the cache is closed, or the block is left. ``lost``: how many were dropped because
    the reader was too slow.
    """

    # Watchers are called in any thread; they only append to `_come`, which is one step, and wake the loop.
    # Everything else happens in the loop's thread.

    def __init__(
        self,
        watch: Callable[[Callable[[Event], object]], AbstractContextManager[None]],
        kinds: frozenset[Kind],
    ) -> None:
        self._watch = watch
        self._kinds = kinds
        self._come: deque[Event] = deque()
        self._woken = asyncio.Event()
        self._watching = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._called = False
        self.lost = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._watching.enter_context(self._watch(self._note))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the iteration after what has happened so far; from any thread and for any loop."""
        self._watching.close()
        self._ended = True
        self._call(self._woken.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._come:
            if self._ended:
                raise StopAsyncIteration
            self._called = False
            self._woken.clear()
            if not self._come:
                await self._woken.wait()
        return self._come.popleft()

    def _note(self, event: Event) -> None:
        if self._kinds and event.kind not in self._kinds:
            return
        self._come.append(event)
        if not self._called:  # once for many: a wake-up of the loop costs more than an event
            self._called = True
            self._call(self._wake)

    def _call(self, what: Callable[[], object]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it was closed
                self._loop.call_soon_threadsafe(what)

    def _wake(self) -> None:
        while len(self._come) > WAITING:
            self._come.popleft()
            self.lost += 1
        self._woken.set()
