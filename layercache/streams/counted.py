"""Bytes that are counted as they come."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from layercache.streams.readers import WrappingReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader


class CountedReader(WrappingReader):
    """Another reader, each piece of which is counted as it is read.

    ``read`` is called with the bytes of each piece, ``closed`` with those of all, unless reading failed.
    """

    def __init__(
        self,
        raw: Reader,
        read: Callable[[int], object],
        closed: Callable[[int], object] = lambda _: None,
    ) -> None:
        super().__init__(raw, raw.size)
        self._count = read
        self._closed = closed
        self._seen = 0
        self._is_open = True

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._raw.read(size)
        except BaseException:
            self._is_open = False
            raise
        if data:
            self._seen += len(data)
            self._count(len(data))
        return data

    def seekable(self) -> bool:
        return self._raw.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return cast("io.IOBase", self._raw).seek(offset, whence)

    def tell(self) -> int:
        return cast("io.IOBase", self._raw).tell()

    def close(self) -> None:
        super().close()
        if self._is_open:
            self._is_open = False
            self._closed(self._seen)
