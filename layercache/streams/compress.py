"""Compresses a tar to zstd or gzip, on several cores, to the same bytes however many they are.

A tar is cut into blocks of a fixed size, and each block is compressed for itself:

- zstd (RFC 8878): each block is a frame, which states its size and ends in a checksum. So a reader can begin
  at any frame. Behind the last of several frames stands a table of their sizes, in a skippable frame (zstd's
  contrib/seekable_format, version 0.1.0), which readers that do not know it skip.
- gzip (RFC 1952): one member, since not every reader takes several. A block ends on a byte's boundary (an
  empty stored block, as zlib's Z_SYNC_FLUSH writes), and may refer to the 32 KiB before it, as pigz does it.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from layercache.oci.descriptor import GZIP, ZSTD
from layercache.streams.readers import read_full
from layercache.units import COMPRESSION_EXAMPLES
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from layercache.backend import Reader

ZSTD_FRAME = 4 << 20
"""Bytes of the tar in each zstd frame, less in the last one. No reader needs a larger window than that."""

GZIP_BLOCK = 1 << 20
"""Bytes of the tar that one thread deflates at a time."""

THREADS_MAX = 8
"""Threads for one tar: each holds a block and what became of it, some 8 MiB."""

_WINDOW = 32 << 10
"""What deflate can refer back to (RFC 1951, 2)."""

_HEADERS: dict[int, bytes] = {1: b"\4", 9: b"\2"}
"""XFL of a gzip header: the fastest and the slowest level say so (RFC 1952, 2.3.1)."""

_LAST_BLOCK = b"\3\0"
"""An empty final block of deflate."""

_SKIPPABLE = 0x184D2A5E
_SEEKABLE = 0x8F92EAB1

_T = TypeVar("_T")
_R = TypeVar("_R")


class Compression(Value, frozen=True):
    """How a tar is compressed: with which algorithm, and at which of its levels.

    One version of layercache with the same version of libzstd or zlib always makes the same bytes: these
    contain neither a time nor a name, and do not depend on the number of threads.
    """

    kind: str
    level: int

    @classmethod
    def of(cls, kind: str, level: int | None = None) -> Compression:
        """An algorithm at a level, by default at `DEFAULTS`. Raises `ValueError`."""
        if kind not in LEVELS:
            raise ValueError(f"not a compression: {kind!r} (expected {' or '.join(LEVELS)})")
        levels = LEVELS[kind]
        if level is None:
            level = DEFAULTS[kind]
        elif level not in levels:
            raise ValueError(f"not a level of {kind}: {level} (expected {levels[0]} to {levels[-1]})")
        return cls(kind, level)

    @classmethod
    def parse(cls, text: str) -> Compression:
        """``zstd``, ``gzip``, or one of them with a level: ``zstd:9``. Raises `ValueError`."""
        kind, colon, level = text.partition(":")
        if colon and not (level.isascii() and level.isdigit()):
            raise ValueError(f"not a level: {level!r} (expected {COMPRESSION_EXAMPLES})")
        return cls.of(kind, int(level) if colon else None)

    def __str__(self) -> str:
        return f"{self.kind}:{self.level}"

    def run(self, tar: Reader, threads: int | None = None) -> Iterator[bytes]:
        """Read the tar to its end, and yield it compressed, piece by piece.

        ``threads``: by default one for each core that this process may use, at most `THREADS_MAX`. Memory is
        bounded by them, whatever the size of the tar.
        """
        threads = min(threads or cores(), THREADS_MAX)
        return _zstd(tar, self.level, threads) if self.kind == ZSTD else _gzip(tar, self.level, threads)


LEVELS = {ZSTD: range(1, 23), GZIP: range(1, 10)}
DEFAULTS = {ZSTD: 3, GZIP: 6}
"""Those of the programs zstd and gzip."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _zstd(tar: Reader, level: int, threads: int) -> Iterator[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {parameter.compression_level: level, parameter.checksum_flag: 1}

    def compress(block: bytes) -> tuple[bytes, int]:
        return zstd.compress(block, options=options), len(block)

    sizes: list[tuple[int, int]] = []
    for frame, size in _in_order(compress, _blocks(tar, ZSTD_FRAME), threads):
        sizes.append((len(frame), size))
        yield frame
    if len(sizes) > 1:
        yield _seek_table(sizes)


def _seek_table(sizes: list[tuple[int, int]]) -> bytes:
    """The skippable frame with the bytes of each frame, compressed and not."""
    entries = b"".join(struct.pack("<II", *each) for each in sizes)
    footer = struct.pack("<IBI", len(sizes), 0, _SEEKABLE)
    return struct.pack("<II", _SKIPPABLE, len(entries) + len(footer)) + entries + footer


def _gzip(tar: Reader, level: int, threads: int) -> Iterator[bytes]:
    checksum = count = 0

    def blocks() -> Iterator[tuple[bytes, bytes]]:
        nonlocal checksum, count
        before = b""
        for block in _blocks(tar, GZIP_BLOCK):
            checksum, count = zlib.crc32(block, checksum), count + len(block)
            yield block, before
            before = block[-_WINDOW:]

    def deflate(block: tuple[bytes, bytes]) -> bytes:
        data, before = block
        fixed = (level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY)
        made = zlib.compressobj(*fixed, before) if before else zlib.compressobj(*fixed)
        return made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH)

    # No time, no name, no system (255: unknown).
    yield b"\x1f\x8b\x08\0\0\0\0\0" + _HEADERS.get(level, b"\0") + b"\xff"
    yield from _in_order(deflate, blocks(), threads)
    yield _LAST_BLOCK + struct.pack("<II", checksum, count & 0xFFFFFFFF)


def _blocks(tar: Reader, size: int) -> Iterator[bytes]:
    """The tar, cut into blocks of this size: the last one is smaller, the only one may be empty."""
    block = read_full(tar, size)
    yield block
    while block and (block := read_full(tar, size)):
        yield block


def _in_order(work: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Iterator[_R]:
    """What becomes of each item, in their order. One more than there are threads is on its way at most."""
    if threads == 1:
        yield from map(work, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, thread_name_prefix="layercache compresses")
    running: deque[Future[_R]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
