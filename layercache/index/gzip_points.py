"""Points in a gzip blob: found by rapidgzip, and what is inflated from one.

A point is between two blocks of deflate, and these begin at any bit. The bits that belong to what comes
before are replaced by empty blocks that have just as many: so the rest stays where it is, which blocks that
are stored uncompressed need (RFC 1951, 3.2.4), and any inflater can be used.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any

from layercache.errors import FormatError
from layercache.index.spans import SPAN_MAX, WINDOW, Point
from layercache.oci.descriptor import GZIP
from layercache.streams.inflate import InflatedReader, ZlibMember
from layercache.streams.limits import Limits
from layercache.streams.readers import BytesReader
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PIECE = 1 << 20
"""Bytes that are inflated at a time."""

_WINDOW_LEVEL = 12
"""Level 19 takes 20 times as long for 3 % less."""

CHUNK = 512 << 10
"""Bytes of the blob that rapidgzip inflates at a time. It keeps the last 16 chunks, so its memory grows with
this: some 60 MiB, where its own 4 MiB takes 300. There is a point in each chunk at least.
"""

SPAN = 5 << 20
"""Bytes of the tar between two points that are kept, where there are enough to choose from: some 4 MiB."""

_POINT_SIZE = 48
"""Bytes of a point in an index, beside its window."""

_GZTOOL = struct.Struct(">8x8sQQ")
_GZTOOL_POINT = struct.Struct(">QQII")


def is_available() -> bool:
    """Whether points can be found here: rapidgzip is installed."""
    from importlib.util import find_spec

    return find_spec("rapidgzip") is not None


def find_points(path: str, sink: Callable[[bytes], object]) -> list[Point]:
    """Inflate a gzip file once, pass its bytes to ``sink`` in order, and return points some 4 MiB apart.

    The last point is the end of both. Raises `FormatError` where rapidgzip does not take the file, as one
    that is filled up with zeros.
    """
    import rapidgzip

    exported, tar_size = _Exported(), 0
    # It ends the process if one is left open.
    file = rapidgzip.RapidgzipFile(path, parallelization=1, chunk_size=CHUNK)
    try:
        while piece := file.read(PIECE):
            sink(piece)
            tar_size += len(piece)
        # In this format windows stay compressed as they are in memory.
        file.export_index(exported, rapidgzip.IndexFormat.GZTOOL)
    except (ValueError, RuntimeError, OSError) as error:
        raise FormatError(f"rapidgzip finds no points in {path}: {error}") from error
    finally:
        file.close()
    found = chosen([*points_of(exported.getvalue()), Point(os.path.getsize(path), tar_size)])
    return [replace(point, window=_recompressed(point.window)) for point in found]


class _Exported(io.BytesIO):
    """What rapidgzip writes its index to: it takes only a file with a name."""

    name = "index"


def points_of(exported: bytes) -> list[Point]:
    """The points of an index in gztool's format; windows are zlib-compressed. Raises `FormatError`."""
    points, from_ = [], _GZTOOL.size
    try:
        magic, count, expected = _GZTOOL.unpack_from(exported)
        if magic != b"gzipindx" or count != expected:
            raise ValueError(f"it begins with {exported[: _GZTOOL.size]!r}")
        for _ in range(count):
            tar_at, at, bits, size = _GZTOOL_POINT.unpack_from(exported, from_)
            from_ += _GZTOOL_POINT.size
            points.append(Point(at, tar_at, bits, exported[from_ : from_ + size]))
            from_ += size
    except (struct.error, ValueError) as error:
        raise FormatError(f"not an index of points in gzip: {error}") from error
    return points


def chosen(points: Sequence[Point]) -> list[Point]:
    """The first, the last, and those between that make the smallest index, at most `SPAN` apart.

    What a window needs differs much from point to point: behind a file's end, say, little of what came
    before is used. So an index of these has half the size of one with a point every 4 MiB.
    """
    sizes, before = [0], [0]  # of the smallest index up to each point, and its last point before that
    for number in range(1, len(points)):
        best, here = number - 1, points[number]
        for other in range(number - 2, -1, -1):
            if here.tar_at - points[other].tar_at > SPAN or here.at - points[other].at > SPAN_MAX:
                break
            best = min(best, other, key=sizes.__getitem__)
        sizes.append(sizes[best] + len(here.window) + _POINT_SIZE)
        before.append(best)
    chosen, number = [points[-1]], len(points) - 1
    while number:
        number = before[number]
        chosen.append(points[number])
    return chosen[::-1]


def _recompressed(window: bytes) -> bytes:
    if not window:
        return b""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.compress(zlib.decompress(window), _WINDOW_LEVEL)


def _window(point: Point) -> bytes:
    if not point.window:
        return b""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    inflating = zstd.ZstdDecompressor()
    try:
        window = inflating.decompress(point.window, WINDOW)
    except zstd.ZstdError as error:
        raise FormatError(f"the window of a point is broken: {error}") from error
    if len(window) != WINDOW or not inflating.eof:
        raise FormatError(f"the window of a point has not {WINDOW} bytes")
    return window


def inflated(data: bytes, point: Point, what: str) -> InflatedReader:
    """What a span of a gzip blob inflates to, perhaps with the beginning of the next span.

    ``data``: the span's bytes, beginning with the one that the point is in. Reading raises `FormatError`.
    """
    if point.bits:
        data = _led_to(8 - point.bits, data[0]) + data[1:]
    reader = InflatedReader(BytesReader(data), GZIP, Limits(), what)
    reader.begin_inside(_RestOfMember(_window(point)))
    return reader


_TRAILER = 8
"""Bytes of a member's CRC and size (RFC 1952, 2.3.1). Of a part of a member they say nothing."""


class _RestOfMember:
    """A gzip member from a point on, to the end of its trailer, with the interface of a decompressor."""

    def __init__(self, window: bytes) -> None:
        self._inner = _raw_deflate(window)
        self._behind = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof) and len(self._behind) >= _TRAILER

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.eof or self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._behind[_TRAILER:]

    def decompress(self, data: Any, max_length: int) -> bytes:
        if self._inner.eof:
            self._behind += bytes(data)
            return b""
        out: bytes = self._inner.decompress(data, max_length)
        if self._inner.eof:
            self._behind = self._inner.unused_data
        return out


def _raw_deflate(window: bytes) -> Any:
    try:
        from isal import igzip_lib
    except ImportError:
        return ZlibMember(zlib.decompressobj(-15, zdict=window) if window else zlib.decompressobj(-15))
    if window:
        return igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE, hist_bits=15, zdict=window)
    return igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE, hist_bits=15)


def _led_to(used: int, shared: int) -> bytes:
    """Return deflate of nothing that ends after ``used`` bits of a byte; its other bits are ``shared``'s."""
    bits, length = 0, 0
    for value, count in [
        *(_EMPTY_DYNAMIC if used % 2 else ()),
        *(_EMPTY_FIXED * ((used - 7 * (used % 2)) % 8 // 2)),
    ]:
        bits |= value << length
        length += count
    mask = 0xFF & (0xFF << used)
    bits |= (shared & mask) << (length - used)
    return bits.to_bytes(length // 8 + 1, "little")


_EMPTY_FIXED = [(0, 1), (1, 2), (0, 7)]
"""A block with fixed codes that is not the last one, and its end: 10 bits (RFC 1951, 3.2.6)."""

_CODE_LENGTHS = {18: 1, 0: 2, 1: 2}
_CODE_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)

_EMPTY_DYNAMIC = [
    *((0, 1), (2, 2), (0, 5), (0, 5), (15, 4)),  # 257 literals and lengths, one distance, 19 code lengths
    *((_CODE_LENGTHS.get(symbol, 0), 3) for symbol in _CODE_LENGTH_ORDER),
    *((0, 1), (138 - 11, 7), (0, 1), (118 - 11, 7)),  # 138 and 118 literals that have no code
    *((3, 2), (1, 2), (0, 1)),  # the end of the block has one of a bit, distances have none; and that end
]
"""A block with dynamic codes that has nothing but its end: 95 bits, an odd number (RFC 1951, 3.2.7)."""
