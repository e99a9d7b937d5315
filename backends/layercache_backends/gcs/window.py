"""The bytes of an object on their way from the thread that writes them to the event loop that sends them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Self

from layercache.backend import RewindError

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache_backends.objects.deadline import Deadline

HELD = 16 << 20
"""Maximum bytes in memory: those that were sent last, which can be sent again, and those to be sent."""

AHEAD = 4 << 20
"""Maximum of the latter."""

BLOCK = 1 << 20
SMALL = 256 << 10
"""Bytes of a block: smaller pieces of what is written are collected, bigger ones divided."""


class Window:
    """The last bytes of an object of ``size`` bytes, in blocks that never change.

    The writer's thread calls `write` and `finish`, which wait for the event loop; that calls the rest, which
    never waits for the writer's thread. ``soon`` calls a function on the event loop later.

    The lock guards every field but ``_rest``, which is the writer's alone: each side changes what the other
    one waits for. It is held for moments only; bytes are copied outside. The writer waits on its condition,
    the event loop on the future ``_wanted``.
    """

    def __init__(self, size: int, soon: Callable[[Callable[[], object]], object]) -> None:
        self.size = size
        self._soon = soon
        self._changed = threading.Condition()
        self._blocks: deque[bytes] = deque()
        self._first = 0  # where the blocks begin in the object
        self._end = 0  # and where they end
        self._rest = bytearray()  # what was written after them
        self._sent = 0
        self._handed = 0  # the most that this session can have
        self._confirmed = 0
        self._furthest = 0  # beyond it, bytes that are sent are progress
        self._finished = False
        self._over = False
        self._rewound = False
        self._body: Body | None = None
        self._wanted: asyncio.Future[None] | None = None

    @property
    def sent(self) -> int:
        """Bytes that were handed to the connection, or that the service has. Callable from any thread."""
        return self._sent

    @property
    def finished(self) -> bool:
        """Whether the last byte may be sent."""
        return self._finished

    @property
    def written(self) -> int:
        """Bytes that were written, as far as they were not lost. For the writer's thread."""
        return self._end + len(self._rest)

    def write(self, data: memoryview) -> bool:
        """Take the data, while sending is not over; return whether it was taken. Raises `RewindError`."""
        for start in range(0, len(data), BLOCK):
            piece = data[start : start + BLOCK]
            if not self._rest and len(piece) >= SMALL:
                block = bytes(piece)
            else:
                self._rest += piece
                if len(self._rest) < SMALL:
                    continue
                block = bytes(self._rest)
                self._rest.clear()
            if not self._append(block):
                return False
        return True

    def finish(self) -> bool:
        """Let the last byte be sent, and wait until sending is over; False if bytes are missing.

        Raises `RewindError`.
        """
        if self._rest and self._append(bytes(self._rest)):
            self._rest.clear()
        with self._changed:
            if self._wait_for(lambda: True):
                if self._end < self.size:
                    return False
                self._finished = True
                self._wake()
                self._wait_for(lambda: False)
            return True

    def _append(self, block: bytes) -> bool:
        with self._changed:
            if not self._wait_for(lambda: self._end + len(block) - self._sent <= max(AHEAD, len(block))):
                return False
            while self._end + len(block) - self._first > HELD:
                self._first += len(self._blocks.popleft())
            self._blocks.append(block)
            self._end += len(block)
            self._wake()
            return True

    def _wait_for(self, condition: Callable[[], bool]) -> bool:
        """Wait for the condition; False if sending is over before. Raises `RewindError`."""
        self._changed.wait_for(lambda: self._over or self._rewound or condition())
        if self._over:
            return False
        if self._rewound:
            self._rewound = False
            self._rest.clear()
            raise RewindError(self._end)
        return True

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._soon(partial(_resolve, wanted))

    # For the event loop

    def begin(self) -> None:
        """A new session: it has nothing."""
        with self._changed:
            self._handed = self._confirmed = self._furthest = 0

    def body(self, start: int, patience: Deadline) -> Body | None:
        """The bytes from ``start`` on, which the service asks for; None if it cannot have those before.

        If they are not held any more, the writer is asked to write them again.
        """
        with self._changed:
            if start > self._handed:
                return None
            if start > self._confirmed:
                # What it has not kept beyond that counts as progress when it is sent again.
                self._confirmed = self._furthest = start
                patience.progress()
            self._sent = start
            if start < self._first:
                self._blocks.clear()
                self._first = self._end = start
                self._finished = False
                self._rewound = True
            self._changed.notify_all()
            self._body = Body(self, start, patience)
            return self._body

    def end(self, _: object = None) -> None:
        """Sending is over. Callable from any thread."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def piece(self, body: Body, at: int) -> memoryview | asyncio.Future[None]:
        """The next bytes of a body, which has handed over all before; a future if they are not there yet."""
        with self._changed:
            if body is not self._body:
                raise ConnectionError("the connection was given up")
            if at > self._sent:
                self._sent = at
                self._changed.notify_all()
            if at > self._furthest:
                self._furthest = at
                body.patience.progress()
            # The last byte would publish the object.
            end = min(self._end, self.size if self._finished else self.size - 1)
            if at >= end:
                self._wanted = asyncio.get_running_loop().create_future()
                return self._wanted
            start = self._end
            for block in reversed(self._blocks):
                start -= len(block)
                if start <= at:
                    break
            piece = memoryview(block)[at - start : end - start]
            self._handed = max(self._handed, at + len(piece))
            return piece


def _resolve(wanted: asyncio.Future[None]) -> None:
    if not wanted.done():  # a connection that was given up no longer waits
        wanted.set_result(None)


class Body:
    """The bytes of one request. The time of ``patience`` does not count while the writer is waited for."""

    def __init__(self, window: Window, start: int, patience: Deadline) -> None:
        self.patience = patience
        self._window = window
        self._at = start

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        while isinstance(piece := self._window.piece(self, self._at), asyncio.Future):
            if self._at == self._window.size:
                raise StopAsyncIteration
            with self.patience.paused():
                await piece
        self._at += len(piece)
        return piece
