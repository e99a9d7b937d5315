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
READ = 128 << 10
BEST_OF_LOOKUPS = 200
OPENINGS = 200
BLOB = b"one layer's bytes"
LINKS = 30_000  # two a layer; ext4 takes 65,000 of one file


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


def zlib_part(path: str) -> dict[str, float]:
    """The same of a gzip blob by Python's own zlib."""
    import zlib

    with open(path, "rb") as file:
        blob = memoryview(file.read())
    decompressor = zlib.decompressobj(wbits=31)

    def work() -> None:
        for offset in range(0, len(blob), READ):
            decompressor.decompress(blob[offset : offset + READ])

    return _cpu(work)


def _decompressor(media_type: str) -> tuple[Any, int, int]:
    if media_type.endswith("zstd"):
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return zstd.ZstdDecompressor(), 128 << 10, 512 << 10
    try:
        from isal import igzip_lib
    except ImportError:
        from layercache.streams.inflate import ZlibMember

        return ZlibMember(), 128 << 10, 512 << 10
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), 128 << 10, 512 << 10


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


def populate(root: str, count: str, sample: str) -> dict[str, float]:
    """Make a cache of so many small layers, and write the names of some of them into a file.

    Two blobs and two records a layer, under the names that a pull of both forms gives them; past the cache,
    which would take much longer. Blobs, which nobody hashes, are links to one.
    """
    from layercache.oci.descriptor import OCI_LAYER_GZIP
    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers import keys
    from layercache.tiers.association import Association
    from layercache.tiers.record import Record

    def place(key: str) -> str:
        path = os.path.join(root, key)
        if (folder := os.path.dirname(path)) not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        return path

    def write(path: str, data: bytes) -> None:
        with open(path, "xb", buffering=0) as file:
            file.write(data)

    made: set[str] = set()
    content = ""
    every = max(1, int(count) // BEST_OF_LOOKUPS)
    with open(sample, "w", encoding="ascii") as names:
        for number in range(int(count)):
            digest, diff_id = Digest.of(b"blob %d" % number), DiffID.of(b"tar %d" % number)
            fact = Association(digest, diff_id, len(BLOB), OCI_LAYER_GZIP, len(BLOB), computed=True)
            blobs = [place(keys.blob(name)) for name in (digest, diff_id)]
            if number % LINKS == 0:
                write(content := blobs[0], BLOB)
            else:
                os.link(content, blobs[0])
            os.link(content, blobs[1])
            for name in (digest, diff_id):
                write(place(keys.record(name)), Record(name, (fact,)).encode())
            if number % every == 0:
                names.write(f"{digest} {diff_id}\n")
    return {}


def look_over(root: str) -> dict[str, float]:
    """What the system's calls alone take that tell of each layer its names, its sizes and its forms: reading
    both of its records, and asking for two files ("layers") or listing all blobs with their sizes ("all")."""
    import json

    facts = os.path.join(root, "records", "sha256", "")
    blobs = os.path.join(root, "blobs", "sha256", "")

    def each_layer(*, looks: bool) -> None:
        for item in os.scandir(facts):
            file = os.open(item.path, os.O_RDONLY)
            data = os.read(file, 4096)
            os.close(file)
            (fact,) = json.loads(data)["facts"]
            if looks and fact["digest"][7:] == item.name:
                os.stat(blobs + item.name)
                os.stat(blobs + fact["annotations"]["dev.ggcr.cache.diffid"][7:])

    def each_blob() -> None:
        for item in os.scandir(blobs):
            item.stat()

    return {
        "layers": _timed(lambda: each_layer(looks=True)),
        "all": _timed(lambda: each_layer(looks=False)) + _timed(each_blob),
    }


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


def ask(url: str, image: str, way: str, count: str) -> dict[str, float]:
    """So many threads ask for an image's one layer at once: until the last has the tar's path, or read it.

    And what the cache did for that, as its events are counted.
    """
    import layercache

    with layercache.open(url) as cache:
        layer = cache.image(image).layers[0]

        def read() -> None:
            with layer.uncompressed() as tar:
                _exhaust(tar, bytearray(READ))

        def path() -> None:
            layer.fill("uncompressed")
            assert layer.path()

        last = _together(read if way == "read" else path, int(count))
        return {"last": last, "fetched": cache.counters.fetched, "inflated": cache.counters.inflated}


def read_together(path: str, count: str) -> dict[str, float]:
    """So many threads read a file, until the last is done."""

    def read() -> None:
        with open(path, "rb", buffering=0) as file:
            _exhaust(file, bytearray(READ))

    return {"last": _together(read, int(count))}


def _together(work: Callable[[], object], count: int) -> float:
    """Seconds until the last of so many threads has done it, from when they all may begin."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    begin = threading.Barrier(count + 1)

    def one() -> float:
        begin.wait()
        work()
        return time.perf_counter()

    with ThreadPoolExecutor(count) as pool:
        ends = [pool.submit(one) for _ in range(count)]
        begin.wait()
        begun = time.perf_counter()
        return max(end.result() for end in ends) - begun


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
