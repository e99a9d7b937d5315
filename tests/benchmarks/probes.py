"""What runs in a fresh process and measures inside itself: ``python probes.py NAME ARGUMENTS...``

Each function prints its figures as JSON, seconds unless named otherwise. Imports are inside the functions: a
probe's memory and start are those of what it uses.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

CHUNK = 512 << 10
READ = 1 << 20
BEST_OF_LOOKUPS = 200
OPENINGS = 200


def fill(url: str, path: str, digest: str, diff_id: str, size: str, media_type: str) -> dict[str, float]:
    """Store both forms of a layer out of a file, in one pass: from asking for it to closing the cache.

    What the imports cost is no part of a pass; the case "startup" has it.
    """
    import layercache

    with layercache.open(url) as cache:
        begun = time.perf_counter()
        layer = cache.layer(
            digest,
            diff_id=diff_id,
            size=int(size),
            media_type=media_type,
            fetch=lambda _: open(path, "rb", buffering=0),  # noqa: SIM115  # the cache closes it
        )
        layer.fill("both")
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "cpu": time.process_time()}


def read_part(path: str) -> dict[str, float]:
    """CPU seconds of reading a file from the page cache."""
    buffer = bytearray(CHUNK)
    with open(path, "rb", buffering=0) as file:
        return _cpu(lambda: _exhaust(file, buffer))


def hash_part(size: str) -> dict[str, float]:
    """CPU seconds of sha256 over so many bytes."""
    import hashlib

    chunk, hasher = os.urandom(CHUNK), hashlib.sha256()

    def work() -> None:
        for _ in range(int(size) // CHUNK):
            hasher.update(chunk)

    return _cpu(work)


def write_part(folder: str, size: str) -> dict[str, float]:
    """CPU seconds of writing so many bytes to a new file, which is not synced."""
    chunk = os.urandom(CHUNK)
    with open(os.path.join(folder, "written"), "wb", buffering=0) as file:
        return _cpu(lambda: file.writelines(itertools.repeat(chunk, int(size) // CHUNK)))


def inflate_part(path: str, media_type: str) -> dict[str, float]:
    """CPU seconds of inflating a blob that is in memory, by the library and the steps that we use."""
    with open(path, "rb") as file:
        blob = memoryview(file.read())
    decompressor, step, out = _decompressor(media_type)

    def work() -> None:
        offset = 0
        while not decompressor.eof:
            data: Any = b""
            if decompressor.needs_input:
                data = blob[offset : offset + step]
                offset += step
            decompressor.decompress(data, out)

    return _cpu(work)


def _decompressor(media_type: str) -> tuple[Any, int, int]:
    if media_type.endswith("zstd"):
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return zstd.ZstdDecompressor(), 64 << 10, 256 << 10
    try:
        from isal import igzip_lib
    except ImportError:
        from layercache.streams import _ZlibMember

        return _ZlibMember(), 256 << 10, 1 << 20
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), 256 << 10, 1 << 20


def _cpu(work: Callable[[], object]) -> dict[str, float]:
    begun = time.process_time()
    work()
    return {"cpu": time.process_time() - begun}


def warm(url: str, diff_id: str) -> dict[str, float]:
    """A warm layer by its diff ID: to the first byte (median), and read to its end."""
    import layercache

    buffer = bytearray(READ)
    with layercache.open(url) as cache:

        def first_byte() -> None:
            with cache.get(diff_id).uncompressed() as tar:
                tar.read(1)

        def whole() -> None:
            with cache.get(diff_id).uncompressed() as tar:
                _exhaust(tar, buffer)

        return {"first": _median_of(first_byte, OPENINGS), "whole": _timed(whole)}


def plain(path: str) -> dict[str, float]:
    """The same for the stored file itself, opened and read without any buffer in between."""
    buffer = bytearray(READ)

    def first_byte() -> None:
        with open(path, "rb", buffering=0) as file:
            file.read(1)

    def whole() -> None:
        with open(path, "rb", buffering=0) as file:
            _exhaust(file, buffer)

    return {"first": _median_of(first_byte, OPENINGS), "whole": _timed(whole)}


def populate(url: str, count: str, sample: str) -> dict[str, float]:
    """Make a cache of so many small layers, and write the names of some of them into a file.

    By the tier's own methods: two blobs and a computed fact a layer, as a pull of both forms leaves them.
    """
    import layercache
    from layercache.association import Association
    from layercache.descriptor import OCI_LAYER_GZIP
    from layercache.digest import DiffID, Digest

    number_of = int(count)
    every = max(1, number_of // BEST_OF_LOOKUPS)
    with layercache.open(url) as cache, open(sample, "w", encoding="ascii") as names:
        tier = cache.tiers[0]
        for number in range(number_of):
            blob, tar = b"blob %d" % number, b"the tar of blob %d" % number
            digest, diff_id = Digest.of(blob), DiffID.of(tar)
            tier.put_blob(digest, blob)
            tier.put_blob(diff_id, tar)
            tier.record(
                Association(digest, diff_id, len(blob), OCI_LAYER_GZIP, len(tar), computed=True),
            )
            if number % every == 0:
                names.write(f"{digest} {diff_id}\n")
    return {}


def lookup(url: str, sample: str) -> dict[str, float]:
    """Medians over names that are spread over the cache: each way to look one up, and opening its tar."""
    import layercache

    with open(sample, encoding="ascii") as lines:
        names = [line.split() for line in lines]
    names = (names * (BEST_OF_LOOKUPS // len(names) + 1))[:BEST_OF_LOOKUPS]
    found: dict[str, list[float]] = {"digest": [], "diff_id": [], "open": []}
    with layercache.open(url) as cache:
        cache.get(names[0][0]).uncompressed().close()  # what is imported when it is first used
        for digest, diff_id in names:
            found["digest"].append(_timed(lambda name=digest: cache.get(name)))  # type: ignore[misc]
            begun = time.perf_counter()
            layer = cache.get(diff_id)
            got = time.perf_counter()
            layer.uncompressed().close()
            found["diff_id"].append(got - begun)
            found["open"].append(time.perf_counter() - got)
    return {name: _median(values) for name, values in found.items()}


def put(url: str, path: str) -> dict[str, float]:
    """Have a layer in a cache, in both forms."""
    import layercache

    with layercache.open(url) as cache:
        cache.put(path)
    return {}


def _exhaust(file: BinaryIO, buffer: bytearray) -> None:
    while file.readinto(buffer):  # type: ignore[attr-defined]  # typeshed's BinaryIO has none
        pass


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _median_of(work: Callable[[], object], times: int) -> float:
    return _median([_timed(work) for _ in range(times)])


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]  # statistics costs memory and a while to import


if __name__ == "__main__":
    import json

    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
