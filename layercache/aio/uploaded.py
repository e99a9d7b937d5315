"""Bytes that come from an event loop, for a thread that stores them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from layercache.streams.chunked import ChunkedReader
from layercache.transfer.cancellation import current

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from concurrent.futures import Future


class Uploaded(ChunkedReader):
    """A blocking stream of what an asynchronous iterable yields in its loop: the body of a request, say."""

    def __init__(self, source: AsyncIterable[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._chunks = aiter(source)
        self._loop = loop
        self._next: Future[bytes | None] | None = None
        self._begun = False

    def next_chunk(self) -> bytes | None:
        if not self._begun and (cancellation := current()) is not None:
            cancellation.at_cancel(self._stop)
        self._begun = True
        self._next = asyncio.run_coroutine_threadsafe(self._chunk(), self._loop)
        return self._next.result()

    async def _chunk(self) -> bytes | None:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            return None

    def _stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
