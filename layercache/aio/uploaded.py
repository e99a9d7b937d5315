"""Bytes that come from an event loop, for a thread that stores them."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

from layercache.transfer.cancellation import current

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from concurrent.futures import Future

    from _typeshed import WriteableBuffer


class Uploaded(io.RawIOBase):
    """A blocking stream of what an asynchronous iterable yields in its loop: the body of a request, say."""

    def __init__(self, source: AsyncIterable[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._chunks = aiter(source)
        self._loop = loop
        self._left = memoryview(b"")
        self._next: Future[bytes | None] | None = None
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._begun and (cancellation := current()) is not None:
            cancellation.at_cancel(self._stop)
        self._begun = True
        while not self._left:
            self._next = asyncio.run_coroutine_threadsafe(self._chunk(), self._loop)
            if (chunk := self._next.result()) is None:
                return 0
            self._left = memoryview(chunk)
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    async def _chunk(self) -> bytes | None:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            return None

    def _stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
