"""Many processes pull layers through one limited tier on disk, while its size is watched from outside.

A test runs it small. In its real size, below ``tests/``: ``python -m upkeep.crowd 100MB``, which pulls ten
times as much.
"""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from servers.images import Layer, make_layer, noise

import layercache
from layercache.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.oci.digest import Digest

TESTS = Path(__file__).parents[1]
PROCESSES = 10
LAYERS = 25
PAUSE = 0.002
"""Seconds between two looks: who watches shall leave the cores to those who pull."""


@dataclass(frozen=True)
class Seen:
    """The most bytes that blobs had at one time, how often that was looked at, and what the pulls read."""

    most: int
    looks: int
    read: int
    seconds: float


def layer(seed: int, size: int) -> Layer:
    return make_layer({"noise": noise(size, seed)})


def run(folder: Path, limit: int) -> Seen:
    """Each process reads every layer's tar once, in an order of its own: together ten times the limit.

    Raises `AssertionError` where one of them reads a wrong byte.
    """
    size = limit // LAYERS
    command = [sys.executable, "-m", "upkeep.crowd", "pull", str(folder), str(limit), str(size)]
    begun = time.monotonic()
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pulling:
        most = looks = 0
        while pulling.poll() is None:
            found = _size(folder / "blobs" / "sha256")
            most, looks = max(most, found or 0), looks + (found is not None)
            time.sleep(PAUSE)
        said = pulling.communicate()[0].decode()
    assert pulling.returncode == 0, said
    return Seen(most, looks, sum(map(int, said.split())), time.monotonic() - begun)


def _size(folder: Path) -> int | None:
    """Bytes of all files, if the folder did not change while they were summed up."""
    found = [_listing(folder) for _ in range(2)]
    return sum(found[0].values()) if found[0] == found[1] else None


def _listing(folder: Path) -> dict[str, int]:
    sizes = {}
    try:
        with os.scandir(folder) as items:
            for item in items:
                sizes[item.name] = item.stat().st_size
    except FileNotFoundError:  # not made yet, or a file that went meanwhile
        return {}
    return sizes


def pull(folder: str, limit: int, layers: Sequence[Layer], number: int) -> int:
    """How many bytes were read, and right."""
    order = [*layers]
    random.Random(number).shuffle(order)
    read = 0
    with layercache.open(f"file://{folder}?sync=false&max_size={limit}") as cache:
        for wanted in order:
            fetch = partial(_fetched, wanted.blob)
            got = cache.layer(wanted.digest, diff_id=wanted.diff_id, fetch=fetch)
            with got.uncompressed() as stream:
                assert stream.read() == wanted.tar
            read += len(wanted.tar)
    return read


def _fetched(blob: bytes, _digest: Digest) -> BinaryIO:
    return io.BytesIO(blob)


def main() -> None:
    if sys.argv[1] == "pull":
        limit, size = map(int, sys.argv[3:])
        layers = [layer(seed, size) for seed in range(LAYERS)]
        for number in range(PROCESSES):  # forked, as importing takes longer than pulling
            if not os.fork():
                read = pull(sys.argv[2], limit, layers, number)
                os.write(1, b"%d\n" % read)
                return
        sys.exit({os.wait()[1] for _ in range(PROCESSES)} != {0})
    limit = parse_size(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        seen = run(Path(folder) / "cache", limit)
    print(f"limit {limit}, most {seen.most} in {seen.looks} looks; {seen.read} read, {seen.seconds:.1f} s")


if __name__ == "__main__":
    main()
