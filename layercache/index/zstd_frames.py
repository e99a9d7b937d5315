"""Points in a zstd blob: its frames, which depend on nothing that comes before them (RFC 8878, 3.1)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import FormatError
from layercache.index.spans import Point
from layercache.oci.descriptor import ZSTD
from layercache.streams.inflate import INFLATE_INPUT, InflatedReader, zstd_frames
from layercache.streams.limits import Limits
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPAN = 4 << 20
"""Bytes of the tar from which the next frame is a separate point. Smaller frames share one."""

PIECE = 1 << 20
"""Bytes that are inflated at a time."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"

_HEADER_MAX = 18
_BLOCK_HEADER = 3
_RLE, _RESERVED = 1, 3


def find_points(path: str, sink: Callable[[bytes], object]) -> list[Point]:
    """Inflate a zstd file once, pass its bytes to ``sink`` in order, and return points some 4 MiB apart.

    The last point is the end of both. Raises `FormatError` for a broken file.
    """
    points, tar_at, end = [Point(0, 0)], 0, 0
    try:
        with open(path, "rb") as file:
            for start, end in frames(file.fileno(), os.fstat(file.fileno()).st_size):
                if tar_at - points[-1].tar_at >= SPAN:
                    points.append(Point(start, tar_at))
                file.seek(start)
                tar_at += _inflate(file, end - start, sink)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    return [*points, Point(end, tar_at)]


def frames(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where each frame begins and ends, in an open file of ``size`` bytes. Nothing is inflated.

    A skippable frame belongs to the one behind it; those behind the last frame belong to that. Raises
    `FormatError`.
    """
    begun = at = 0
    last: tuple[int, int] | None = None
    while at < size:
        head = os.pread(file, _HEADER_MAX, at)
        if head[1:4] == _SKIPPABLE and head[0] & 0xF0 == 0x50:
            at += 8 + int.from_bytes(head[4:8], "little")
        elif head.startswith(_MAGIC):
            at = _end_of_frame(file, at, head)
            if last is not None:
                yield last
            last, begun = (begun, at), at
        else:
            raise FormatError(f"no zstd frame begins at byte {at}")
        if at > size:
            raise FormatError(f"a zstd frame ends at byte {at} of {size}")
    if last is not None:
        yield last[0], size


def _end_of_frame(file: int, at: int, head: bytes) -> int:
    flags = head[4] if len(head) > 4 else 0
    single = flags & 0x20
    at += 5 + (not single) + (0, 1, 2, 4)[flags & 3] + (1 if single else 0, 2, 4, 8)[flags >> 6]
    last = False
    while not last:
        block = int.from_bytes(header := os.pread(file, _BLOCK_HEADER, at), "little")
        last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        if len(header) < _BLOCK_HEADER or kind == _RESERVED:
            raise FormatError(f"no block of zstd begins at byte {at}")
        at += _BLOCK_HEADER + (1 if kind == _RLE else length)
    return at + (4 if flags & 4 else 0)


def _inflate(file: BinaryIO, length: int, sink: Callable[[bytes], object]) -> int:
    """Inflate so many bytes, which are one frame and skippable ones; return how many came out."""
    make, broken = zstd_frames()
    member, count, data = make(), 0, b""
    try:
        while True:
            if not data and (member.eof or member.needs_input):
                if not length:
                    break
                data = file.read(min(length, INFLATE_INPUT))
                length -= len(data)
                if not data:
                    raise FormatError("a zstd blob became shorter while it was read")
            if member.eof:
                member = make()
            out = member.decompress(data, PIECE)
            data = member.unused_data if member.eof else b""
            count += len(out)
            sink(out)
    except broken as error:
        raise FormatError(f"broken zstd stream: {error}") from error
    if not member.eof:
        raise FormatError("a zstd frame is cut off")
    return count


def inflated(data: bytes, what: str) -> InflatedReader:
    """What a span of a zstd blob inflates to. Reading raises `FormatError`."""
    return InflatedReader(BytesReader(data), ZSTD, Limits(), what)
