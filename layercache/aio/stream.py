"""A stream of bytes for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, Self, TypeVar

from layercache.aio.wrapping import Opening, Wrapper
from layercache.transfer.cancellation import Cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from layercache.aio.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = 512 << 10
"""Bytes that an iteration yields at a time: a hop between threads for each."""


class Stream(Wrapper[BinaryIO]):
    """Bytes of a layer or a file. Iterating yields chunks; one task at a time may use it.

    A task that is cancelled while it reads gives the stream up: the transfer behind it ends at once, unless
    others read it, and nothing more can be read. To leave ``async with`` otherwise is to close it, after
    which the transfer may be finished in the background.
    """

    def __init__(self, sync: BinaryIO, workers: Workers, cancellation: Cancellation) -> None:
        super().__init__(sync, workers)
        self._cancellation = cancellation

    async def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, by default all that are left; less only at the end. Raises as the layer's."""
        return await self._call(self.sync.read, size)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer; return how many bytes it got, less than it holds only at the end."""
        return await self._call(_readinto, self.sync, buffer)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's, if `seekable`."""
        return await self._call(self.sync.seek, offset, whence)

    async def tell(self) -> int:
        return await self._call(self.sync.tell)

    def seekable(self) -> bool:
        return self.sync.seekable()

    async def close(self) -> None:
        """Close it. It may be closed twice."""
        if self._cancellation.cancelled:  # a thread may still be reading: nobody waits for it
            self._workers.start(self.sync.close)
        else:
            await self._workers.call(Cancellation(), self.sync.close)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read(CHUNK):
            yield chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.close()

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._workers.call(self._cancellation, function, *args, **kwargs)


def opening(workers: Workers, opens: Callable[[], BinaryIO]) -> Opening[Stream]:
    """What a method returns that opens a stream in a thread."""

    async def opened() -> Stream:
        cancellation = Cancellation()
        stream = await workers.call(cancellation, partial(_open, opens, cancellation))
        return Stream(stream, workers, cancellation)

    return Opening(opened)


def _open(opens: Callable[[], BinaryIO], cancellation: Cancellation) -> BinaryIO:
    stream = opens()
    if cancellation.cancelled:
        stream.close()
    return stream


def _readinto(stream: BinaryIO, buffer: bytearray | memoryview) -> int:
    view = memoryview(buffer)
    chunk = stream.read(len(view))
    view[: len(chunk)] = chunk
    return len(chunk)
