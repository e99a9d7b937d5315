"""Layers are streamed: how much memory a pull takes does not depend on how big they are, or how many."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = 100 << 20
"""Bytes over a bare interpreter that has imported what the test itself needs."""

PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
"""

BIG = """
# A gzip layer of 512 MiB, made as it is read: members of 8 MiB, half of them noise.
import gzip, hashlib, io, random, tarfile
header = tarfile.TarInfo("big"); header.size = 512 << 20
half = random.Random(1).randbytes(4 << 20)
member = gzip.compress(half + bytes(4 << 20), 1, mtime=0)
def blob():
    yield gzip.compress(header.tobuf(), mtime=0)
    for _ in range(64): yield member
    yield gzip.compress(bytes(1024), mtime=0)
class Stream(io.RawIOBase):
    def __init__(self): self.parts, self.rest = blob(), b""
    def readable(self): return True
    def readinto(self, buffer):
        self.rest = self.rest or next(self.parts, b"")
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count
hasher = hashlib.sha256()
for part in blob(): hasher.update(part)
before = peak()
import layercache
with layercache.open("file://" + folder + "?sync=false") as cache:
    layer = cache.layer("sha256:" + hasher.hexdigest(), fetch=lambda digest: Stream())
    layer.fill("both")
    assert layer.uncompressed_size == (512 << 20) + 1536, layer.uncompressed_size
print(peak() - before)
"""

MANY = """
# 500 gzip layers of 50 KiB, four at a time.
import gzip, hashlib, io, random, tarfile
from concurrent.futures import ThreadPoolExecutor
def make(number):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("f"); info.size = 50 << 10
        tar.addfile(info, io.BytesIO(random.Random(number).randbytes(info.size)))
    return gzip.compress(buffer.getvalue(), 1, mtime=0)
blobs = {"sha256:" + hashlib.sha256(made).hexdigest(): made for made in map(make, range(500))}
before = peak()
import layercache
with layercache.open("file://" + folder + "?sync=false") as cache, ThreadPoolExecutor(4) as threads:
    fetch = lambda digest: io.BytesIO(blobs[digest])
    list(threads.map(lambda digest: cache.layer(digest, fetch=fetch).fill("both"), blobs))
    assert cache.counters.inflated == 500
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "program",
    [BIG, pytest.param(MANY, marks=pytest.mark.slow)],
    ids=["one big layer", "500 small layers"],
)
def test_a_pull_takes_little_memory(program: str, tmp_path: Path) -> None:
    code = f"folder = {str(tmp_path / 'cache')!r}\n{PEAK}{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < ALLOWED
