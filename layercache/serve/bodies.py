"""The body of a request, read part by part in a thread while it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from layercache.serve.messages import RegistryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from granian._granian import RSGIHTTPProtocol as HTTPProtocol

    from layercache.serve.messages import RequestHeaders

PART = 256 << 10
"""Bytes of a part, about: each costs a change of threads."""

GRACE = 5.0
"""Seconds after the event loop's own limit, for an event loop that has ended."""


class Body:
    """An iterator over the parts of a body, for one thread. No part is read before it is asked for.

    So a client cannot send faster than its bytes are used. ``patience``: seconds without a byte after which
    the client is given up. Raises `RegistryError` 408 then, and 400 for fewer bytes than Content-Length says:
    the server below reports a connection that breaks off as the end of the body.
    """

    def __init__(
        self,
        protocol: HTTPProtocol,
        loop: asyncio.AbstractEventLoop,
        length: int | None,
        patience: float,
    ) -> None:
        self._protocol = protocol
        self._loop = loop
        self._length = length
        self._patience = patience
        self._chunks: AsyncIterator[bytes] | None = None
        self._ended = False
        self._stalled = False
        self._came = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            if self._length is not None and self._came < self._length:
                raise RegistryError(
                    400, "SIZE_INVALID", f"{self._came} bytes came of {self._length} that were announced"
                )
            raise StopIteration
        if self._stalled:
            raise RegistryError(408, "BLOB_UPLOAD_INVALID", f"no byte came in {self._patience:g} seconds")
        part = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
        try:
            data = part.result(self._patience + GRACE)
        except TimeoutError:
            part.cancel()
            self._stalled = True
            return next(self)
        self._came += len(data)
        return data or next(self)

    async def _gather(self) -> bytes:
        """The next part: as many of the server's chunks as fit, what is left, or what comes in time."""
        if self._chunks is None:
            self._chunks = aiter(self._protocol)  # once: it takes the body over
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._patience):
                while size < PART:
                    chunks.append(await anext(self._chunks))
                    size += len(chunks[-1])
        except StopAsyncIteration:
            self._ended = True
        except TimeoutError:
            self._stalled = not size
        return b"".join(chunks)


def body_of(protocol: HTTPProtocol, headers: RequestHeaders, patience: float) -> Body | None:
    """The body of a request that may have one; None if it has none. To be called in the event loop."""
    length = headers.get("content-length", "")
    if not headers.get("transfer-encoding", "") and (not length.isdecimal() or not int(length)):
        return None
    loop = asyncio.get_running_loop()
    return Body(protocol, loop, int(length) if length.isdecimal() else None, patience)
