"""A blob on its way from a registry: a stream that goes on where it broke off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from urllib3.exceptions import HTTPError

from layercache.errors import DigestMismatchError, SourceError
from layercache.sources.failure import reason
from layercache.sources.http import abandon

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from _typeshed import WriteableBuffer
    from urllib3.response import BaseHTTPResponse

    from layercache.descriptor import Descriptor
    from layercache.sources.retry import Retries

PIECE = 256 << 10
"""Bytes of one read at most: the fastest in measurements, and what a break can lose."""


class BlobReader:
    """The bytes of a blob from an offset on, as many as its descriptor states.

    A body that breaks off, falls silent or ends early is asked for again from where it was, up to
    ``retries`` times without a byte of progress; then it is a `SourceError`. More bytes than stated are
    a `DigestMismatchError`. The hash is for the reader to check, who says by ``refute`` that it was wrong.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        start: int,
        open_at: Callable[[int], BaseHTTPResponse],
        retries: Retries,
        where: str,
        refuted: Callable[[DigestMismatchError], bool] = lambda _: False,
    ) -> None:
        self._descriptor = descriptor
        self._offset = start
        self._open_at = open_at
        self._retries = retries
        self._where = where
        self._refuted = refuted
        self._breaks = 0
        self._response = open_at(start) if start < descriptor.size else None
        self.size: int = descriptor.size - start

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        left = self._descriptor.size - self._offset
        if not size:
            return b""
        if not left:
            self._end()
            return b""
        while self._response is not None:
            problem = "the stream ended"
            try:
                if part := self._response.read(min(size, left, PIECE)):
                    self._offset += len(part)
                    self._breaks = 0
                    return part
            except (HTTPError, OSError) as error:
                problem = reason(error)
            self._resume(problem)
        raise ValueError("read of a closed blob")

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        # urllib3's own readinto makes the same copy, a tenth of the time that the bytes need on loopback.
        view = memoryview(buffer).cast("B")
        part = self.read(len(view))
        view[: len(part)] = part
        return len(part)

    def refute(self, error: DigestMismatchError) -> bool:
        """As `Refutable.refute`."""
        return self._refuted(error)

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            abandon(response)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _resume(self, problem: str) -> None:
        self.close()
        if self._breaks >= self._retries.count:
            raise SourceError(
                f"{self._where} broke off {self._breaks + 1} times at byte {self._offset}"
                f" of {self._descriptor.size}: {problem}"
            )
        self._retries.wait(self._breaks)
        self._breaks += 1
        self._response = self._open_at(self._offset)

    def _end(self) -> None:
        """Let the connection be used again; what goes on beyond the stated size is not what was asked for."""
        response, self._response = self._response, None
        if response is None:
            return
        try:
            more = response.read(1)
        except (HTTPError, OSError):
            more = b""  # all that was wanted has come
        abandon(response)
        if more:
            raise DigestMismatchError(
                f"{self._where} goes on after the {self._descriptor.size} bytes that are stated for it"
            )
