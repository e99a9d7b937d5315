"""Seek points of gzip: few, with small windows, in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
import tarfile
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from isal import igzip

from layercache.errors import FormatError
from layercache.index.gzip_points import SPAN, chosen, points_of
from layercache.index.spans import SPAN_MAX, Point
from layercache.oci.digest import Digest

MIB = 1 << 20

INDEX = """
import sys

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

bare = peak()
from layercache.files.seek_points import of_file
from layercache.oci.digest import Digest
from layercache.streams.limits import Limits

index = of_file(sys.argv[1], Digest(sys.argv[2]), lambda _: None, Limits())
print(len(index), index.tar_size, len(index.encode()), peak() - bare)
"""


@pytest.fixture(scope="module")
def files() -> bytes:
    """A tar of ordinary files: Python's own library."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py")):
            if archive.tell() < 24 * MIB:
                tar.add(path)
    return archive.getvalue()


def made(path: Path, tar: bytes) -> list[int]:
    """What `INDEX` prints of a gzip of these bytes, and the size of that."""
    blob = igzip.compress(tar, 2)
    path.write_bytes(blob)
    run = [sys.executable, "-c", INDEX, str(path), str(Digest.of(blob))]
    return [*map(int, subprocess.run(run, check=True, capture_output=True).stdout.split()), len(blob)]


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a peak of memory is read from /proc")


def test_the_seek_index_of_ordinary_files_has_few_points_and_is_small(tmp_path: Path, files: bytes) -> None:
    spans, tar_size, size, _, blob_size = made(tmp_path / "blob", files)
    assert tar_size / spans > 3 * MIB
    assert size < 0.0015 * blob_size


@pytest.mark.slow
def test_making_a_seek_index_takes_bounded_memory(tmp_path: Path, files: bytes) -> None:
    *_, memory, _ = made(tmp_path / "blob", 5 * files)
    assert memory < 75 << 10


def test_points_are_chosen_for_their_small_windows_and_are_not_too_far_from_each_other() -> None:
    dice, points = Random(1), [Point(0, 0)]
    for _ in range(500):
        last = points[-1]
        at, tar_at = last.at + dice.randrange(1, MIB), last.tar_at + dice.randrange(2 * MIB)
        points.append(Point(at, tar_at, window=bytes(dice.choice([10, 2000, 9000]))))
    few = chosen(points)
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert set(few) <= set(points)
    assert all(after.tar_at - this.tar_at <= SPAN for this, after in pairwise(few))
    assert sum(len(point.window) for point in few) < 0.1 * sum(len(point.window) for point in points)


def test_points_of_a_blob_that_inflates_to_nothing_are_near_enough_to_be_read() -> None:
    points = [Point(number * MIB, 0) for number in range(100)]
    assert max(after.at - this.at for this, after in pairwise(chosen(points))) == SPAN_MAX


def test_points_that_are_far_from_each_other_are_all_kept() -> None:
    points = [Point(number, number * 2 * SPAN) for number in range(3)]
    assert chosen(points) == points
    assert chosen(points[:1]) == points[:1]


@pytest.mark.parametrize("exported", [b"", bytes(8) + b"gzipindx" + bytes(15), bytes(16) + b"\1" * 16])
def test_what_is_no_index_is_refused(exported: bytes) -> None:
    with pytest.raises(FormatError, match="not an index"):
        points_of(exported)
