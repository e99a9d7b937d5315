"""A thread that inflates does not hash more slowly afterwards."""

from __future__ import annotations

import ctypes
import gzip
import io
import mmap
import platform
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from isal import isal_zlib

from layercache.oci.descriptor import GZIP
from layercache.streams import inflate as inflating
from layercache.streams.inflate import InflatedReader
from layercache.streams.limits import Limits
from layercache.streams.readers import CHUNK
from layercache.streams.wide_registers import clear_wide_registers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader

XINUSE = bytes.fromhex("b9010000000f01d0c3")
"""mov ecx, 1; xgetbv; ret: the parts of the registers that are in use (Intel SDM 1, 13.2: XINUSE)."""

TAR = bytes(4 << 20)

WIDE = 1 << 2 | 1 << 6
"""The upper halves of YMM0 to YMM15, and of ZMM0 to ZMM15."""


@pytest.fixture
def in_use() -> Iterator[Callable[[], int]]:
    """Which parts of this thread's registers are in use; none where the processor does not tell."""
    processor = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not processor.exists() or "xgetbv1" not in processor.read_text():
        yield lambda: 0
        return
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(XINUSE)
        start = ctypes.c_char.from_buffer(page)
        yield ctypes.CFUNCTYPE(ctypes.c_uint32)(ctypes.addressof(start))
        del start  # a mapping that is pointed to cannot be closed


def inflate(data: bytes) -> bytes:
    blob = cast("Reader", io.BytesIO(gzip.compress(data)))
    return InflatedReader(blob, GZIP, Limits(), "the blob").read()


def test_inflating_a_gzip_leaves_no_wide_registers_in_use(in_use: Callable[[], int]) -> None:
    isal_zlib.crc32(TAR)
    clear_wide_registers()
    cleared = in_use() & WIDE
    assert inflate(TAR) == TAR
    assert in_use() & WIDE == cleared, "sha256 takes a third longer in this thread until they are cleared"


def test_registers_are_cleared_after_each_piece_of_a_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[None] = []
    monkeypatch.setattr(inflating, "clear_wide_registers", lambda: cleared.append(None))
    assert inflate(TAR) == TAR
    assert len(cleared) >= len(TAR) // CHUNK
