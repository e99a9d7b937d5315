"""Files of a layer by chunks: what can be read and verified without the rest, by a layer's own table."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError
from layercache.streams.inflate import InflatedReader
from layercache.streams.limits import Limits
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.backend import Reader
    from layercache.index.table import FileTable

    Read = Callable[[int, int], bytes]
    """Bytes of a blob, from the first number up to the second."""


class Chunk(Value, frozen=True):
    """Bytes of a file that can be read and verified without the rest.

    ``offset`` and ``size``: which bytes of the file. ``start`` and ``end``: where in the blob the gzip member
    or zstd frame begins, and where the next one can begin. ``skip``: bytes to leave out of what it inflates
    to. ``sha256``: of the bytes; "" for zeros, which are not read and may be more than memory holds.
    """

    offset: int
    size: int
    start: int
    end: int
    skip: int
    sha256: str


class OwnTable:
    """What a layer's own table says, once its digest was found right.

    ``files``: the entries; where their bytes are in the tar is not known. ``compression``: of the blob.
    """

    def __init__(self, files: FileTable, chunks: dict[str, tuple[Chunk, ...]], compression: str) -> None:
        self.files = files
        self.compression = compression
        self._chunks = chunks

    def chunks(self, path: str, start: int = 0, end: int | None = None) -> list[Chunk]:
        """The chunks that have bytes ``start`` to ``end`` of a regular file, in order. Others have none."""
        found = self._chunks.get(path, ())
        first = bisect_right(found, start, key=lambda chunk: chunk.offset + chunk.size)
        return [each for each in found[first:] if end is None or each.offset < end]

    def inflate(self, chunks: Sequence[Chunk], blob: Reader) -> list[bytes]:
        """The bytes of chunks that have a ``start`` in common and are not zeros, each of them.

        ``blob``: a reader of what is from there to ``end``. It is inflated once: many small files may be in
        one member. Raises `FormatError` if it does not inflate, `DigestMismatchError` if a chunk's bytes are
        not those that the table states.
        """
        wanted = max(chunk.skip + chunk.size for chunk in chunks)
        found = bytearray()
        inflated = InflatedReader(blob, self.compression, Limits(), "a chunk of a layer")
        while len(found) < wanted and (piece := inflated.read(min(wanted - len(found), 1 << 20))):
            found += piece
        return [_checked(chunk, bytes(found[chunk.skip : chunk.skip + chunk.size])) for chunk in chunks]


def _checked(chunk: Chunk, data: bytes) -> bytes:
    if len(data) != chunk.size:
        raise FormatError(f"a chunk of a layer has {len(data)} bytes (its table states {chunk.size})")
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise DigestMismatchError("a chunk of a layer does not have the hash that its table states")
    return data
