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

from layercache.oci.descriptor import GZIP
from layercache.streams.inflate import InflatedReader
from layercache.streams.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader

XINUSE = bytes.fromhex("b9010000000f01d0c3")
"""mov ecx, 1; xgetbv; ret: the parts of the registers that are in use (Intel SDM 1, 13.2: XINUSE)."""

WIDE = 1 << 2 | 1 << 6
"""The upper halves of YMM0 to YMM15, and of ZMM0 to ZMM15."""


@pytest.fixture
def in_use() -> Iterator[Callable[[], int]]:
    """Which parts of this thread's registers are in use."""
    processor = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not processor.exists() or "xgetbv1" not in processor.read_text():
        pytest.skip("this processor does not say which registers are in use")
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(XINUSE)
        start = ctypes.c_char.from_buffer(page)
        yield ctypes.CFUNCTYPE(ctypes.c_uint32)(ctypes.addressof(start))
        del start  # a mapping that is pointed to cannot be closed


def test_inflating_a_gzip_leaves_no_wide_registers_in_use(in_use: Callable[[], int]) -> None:
    tar = bytes(1 << 20)
    blob = cast("Reader", io.BytesIO(gzip.compress(tar)))
    assert InflatedReader(blob, GZIP, Limits(), "the blob").read() == tar
    assert not in_use() & WIDE, "sha256 takes a third longer in this thread until they are cleared"
