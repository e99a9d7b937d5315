"""The seek index of a blob: where inflating can begin, and the hashes that a part is checked by."""

from __future__ import annotations

from bisect import bisect_right
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from layercache.errors import FormatError
from layercache.index.envelope import seal, unseal
from layercache.oci.descriptor import GZIP, NO_COMPRESSION, ZSTD
from layercache.oci.digest import DiffID, Digest
from layercache.value import Value, msgpack_decoder

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"layercache seek 1\n"

BLOCK = 1 << 20
"""Bytes of the tar that have one hash, with which a part is compared, whatever inflated it."""

SPAN_MAX = 16 << 20
"""Bytes of the blob in one span at most: they are held in memory while they are checked."""

TAR_SPAN_MAX = 64 << 20
"""Bytes of the tar in one span at most: so much may have to be inflated for the last one of them."""

INDEX_MAX = 256 << 20
"""Bytes of a decoded index at most; one of a tar of 64 GiB has some 60 MB."""

WINDOW = 32 << 10
"""Bytes before a point that deflate may refer to (RFC 1951, 2)."""

_HASH = 32

_Offset = Annotated[int, Meta(ge=0, le=1 << 53)]


class Point(Value, frozen=True):
    """Where inflating can begin.

    ``at``: offset in the blob of the first whole byte. ``bits``: how many of the highest bits of the byte
    before that belong to it (deflate has no byte boundaries). ``tar_at``: offset in the tar of what comes
    out. ``window``: the bytes before that in the tar to which what follows may refer, zstd-compressed; ""
    if none.
    """

    at: int
    tar_at: int
    bits: int = 0
    window: bytes = b""


class Span(Value, frozen=True):
    """The bytes ``start`` to ``end`` of the blob, of which ``tar_start`` to ``tar_end`` of the tar are made.

    Neighbours have a byte in common where a point is inside one. ``hash``: sha256 of these bytes.
    """

    start: int
    end: int
    tar_start: int
    tar_end: int
    point: Point
    hash: bytes


class _Stored(Struct, array_like=True, forbid_unknown_fields=True):
    """By columns; the last point is the end of both forms."""

    digest: str
    diff_id: str
    compression: str
    size: _Offset
    tar_size: _Offset
    at: list[_Offset]
    bits: bytes
    tar_at: list[_Offset]
    windows: list[bytes]
    hashes: bytes
    blocks: bytes


class SeekIndex:
    """What is known of one blob. It does not change, and can be shared by threads.

    An index without points says that no part of the blob can be read without what comes before.
    """

    def __init__(self, stored: _Stored) -> None:
        self._stored = stored
        self.digest = Digest(stored.digest)
        self.diff_id = DiffID(stored.diff_id)
        self.compression = stored.compression
        self.size = stored.size
        self.tar_size = stored.tar_size

    @classmethod
    def of(
        cls,
        digest: Digest,
        diff_id: DiffID,
        compression: str,
        points: Sequence[Point],
        hashes: Sequence[bytes],
        blocks: bytes,
    ) -> SeekIndex:
        """Make one. ``points``: one for each of the ``hashes``, and the end; ``blocks``: see `Blocks`."""
        return cls(
            _Stored(
                str(digest),
                str(diff_id),
                compression,
                points[-1].at,
                points[-1].tar_at,
                [point.at for point in points],
                bytes(point.bits for point in points),
                [point.tar_at for point in points],
                [point.window for point in points[:-1]],
                b"".join(hashes),
                blocks,
            )
        )

    @classmethod
    def without_points(cls, digest: Digest, diff_id: DiffID, compression: str, end: Point) -> SeekIndex:
        """Of a blob that can only be inflated from its beginning."""
        return cls.of(digest, diff_id, compression, [end], [], b"")

    @property
    def has_points(self) -> bool:
        """Whether less than all of the blob has to be read for a part of the tar."""
        return len(self) > 1

    def __len__(self) -> int:
        """How many spans it has."""
        return len(self._stored.windows)

    def number_at(self, tar_offset: int) -> int:
        """The number of the span out of which this byte of the tar comes."""
        return min(bisect_right(self._stored.tar_at, tar_offset), len(self)) - 1

    def span(self, number: int) -> Span:
        """The span of this number, from 0 to ``len - 1``."""
        stored = self._stored
        point = Point(stored.at[number], stored.tar_at[number], stored.bits[number], stored.windows[number])
        return Span(
            point.at - bool(point.bits),
            stored.at[number + 1],
            point.tar_at,
            stored.tar_at[number + 1],
            point,
            stored.hashes[_HASH * number : _HASH * (number + 1)],
        )

    def block_hash(self, number: int) -> bytes:
        """The sha256 of bytes ``number * BLOCK`` to the next block of the tar, or to its end."""
        return self._stored.blocks[_HASH * number : _HASH * (number + 1)]

    def encode(self) -> bytes:
        """The index as it is stored: `MAGIC`, the sha256 of what follows, and the columns."""
        return seal(MAGIC, msgspec.msgpack.encode(self._stored), 1)  # windows are compressed each for itself

    @classmethod
    def decode(cls, data: bytes) -> SeekIndex:
        """The inverse of `encode`. Raises `FormatError` for an index that cannot have been made here."""
        try:
            stored = msgpack_decoder(_Stored).decode(unseal(MAGIC, data, INDEX_MAX))
            _check(stored)
            return cls(stored)
        except (msgspec.MsgspecError, ValueError) as error:
            raise FormatError(f"a seek index is broken: {error}") from error


def _check(stored: _Stored) -> None:
    """Raise `ValueError` unless the points are in order and within both forms, and have hashes."""
    count, at, tar_at = len(stored.windows), stored.at, stored.tar_at
    blocks = -(-stored.tar_size // BLOCK) if count else 0
    lengths = (len(at), len(tar_at), len(stored.bits), len(stored.hashes), len(stored.blocks))
    if lengths != (count + 1, count + 1, count + 1, _HASH * count, _HASH * blocks):
        raise ValueError("it has not as many hashes and windows as points")
    if stored.compression not in (GZIP, ZSTD, NO_COMPRESSION) or (at[-1], tar_at[-1]) != (
        stored.size,
        stored.tar_size,
    ):
        raise ValueError("its points do not end where the blob ends")
    if count and (tar_at[0] or at[0] < bool(stored.bits[0]) or max(stored.bits) > 7):
        raise ValueError("its points do not begin where the tar begins")
    for number in range(count):
        if not is_readable(at[number], at[number + 1], tar_at[number], tar_at[number + 1]):
            raise ValueError("its points are not in order, or too far from each other")


def is_readable(start: int, end: int, tar_start: int, tar_end: int) -> bool:
    """Whether a span of these bytes of the blob and of the tar can be read for itself."""
    return 0 < end - start <= SPAN_MAX and 0 <= tar_end - tar_start <= TAR_SPAN_MAX


class Blocks:
    """Hashes each `BLOCK` of a tar, as it comes."""

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._now = sha256()
        self._left = BLOCK

    def data(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            part, view = view[: self._left], view[self._left :]
            self._now.update(part)
            self._left -= len(part)
            if not self._left:
                self._end_block()

    def end(self) -> bytes:
        """All hashes, one after the other. To be called once."""
        if self._left < BLOCK:
            self._end_block()
        return bytes(self._hashes)

    def _end_block(self) -> None:
        self._hashes += self._now.digest()
        self._now, self._left = sha256(), BLOCK
