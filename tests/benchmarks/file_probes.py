"""What reads files of layers in a fresh process and measures inside itself: as `probes`, run the same way."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OPENINGS = 20


def pass_over(compression: str, path: str) -> dict[str, float]:
    """CPU seconds of inflating a layer and hashing its tar: alone, and with its table made.

    As `layercache.files.tables` does it. ``thread``: those of the thread of the pass alone, while another one
    makes the table.
    """
    from hashlib import sha256

    from layercache.files.table_thread import TableThread
    from layercache.oci.descriptor import NO_COMPRESSION
    from layercache.streams.inflate import InflatedReader
    from layercache.streams.limits import Limits
    from layercache.streams.readers import CHUNK

    def go(pieces: Callable[[Any], Iterable[bytes | memoryview]]) -> float:
        begun, hasher = time.thread_time(), sha256()
        with open(path, "rb", buffering=0) as file:
            blob: Any = file
            is_plain = compression == NO_COMPRESSION
            tar = blob if is_plain else InflatedReader(blob, compression, Limits(), "a layer")
            for piece in pieces(tar):
                hasher.update(piece)
        return time.thread_time() - begun

    alone = go(lambda tar: iter(lambda: tar.read(CHUNK), b""))
    begun = time.process_time()
    with TableThread() as builder:
        thread = go(builder.read)
        table = builder.finish()
    figures = {"without": alone, "with": time.process_time() - begun, "thread": thread}
    return figures | {"table": len(table.encode())}


def seek_points(path: str, digest: str) -> dict[str, float]:
    """Seconds of the pass that makes seek points out of a blob, and the bytes of the index."""
    from layercache.files.seek_points import of_file
    from layercache.oci.digest import Digest
    from layercache.streams.limits import Limits

    begun = time.perf_counter()
    index = of_file(path, Digest(digest), lambda _data: None, Limits())
    return {"seconds": time.perf_counter() - begun, "size": len(index.encode())}


def first_byte(url: str, name: str, path: str) -> dict[str, float]:
    """From a layer that is looked up to the first byte of one of its files, in an open cache: the median."""
    import layercache

    times = []
    with layercache.open(url) as cache:
        for _ in range(OPENINGS):
            begun = time.perf_counter()
            with cache.get(name).open(path) as file:
                file.read(1)
            times.append(time.perf_counter() - begun)
        layer = cache.get(name)
        layer.open(path).close()
        begun = time.perf_counter()
        with layer.open(path) as file:
            file.seek(file.seek(0, os.SEEK_END) // 2)
            file.read(1)
        return {"first": sorted(times)[OPENINGS // 2], "again": time.perf_counter() - begun}


def middle_of_tar(tar: str, path: str) -> dict[str, float]:
    """The same by `tarfile` out of the inflated tar."""
    import tarfile

    begun = time.perf_counter()
    with tarfile.open(tar) as opened:
        file = opened.extractfile(path)
        assert file
        file.read(1)
    return {"first": time.perf_counter() - begun}


def whole_tar(url: str, name: str) -> dict[str, float]:
    """Seconds of reading a whole tar that no tier keeps, first without a seek index, then with one."""
    import layercache
    from layercache.files import seek_points

    def read() -> float:
        begun, buffer = time.perf_counter(), bytearray(1 << 20)
        with cache.get(name).uncompressed() as tar:
            while tar.readinto(buffer):  # type: ignore[attr-defined]  # a raw stream
                pass
        return time.perf_counter() - begun

    with layercache.open(url) as cache:
        without = read()
        layer = cache.get(name)
        seek_points.get(layer._resolver, layer._state)
        return {"without": without, "with": read()}


def list_layer(url: str, name: str) -> dict[str, float]:
    """Seconds until all entries of a layer were seen, and all files of it as an image, with the import."""
    import layercache

    with layercache.open(url) as cache:
        begun = time.perf_counter()
        count = sum(1 for _ in cache.get(name).files())
        entries = time.perf_counter() - begun
        begun = time.perf_counter()
        sum(1 for _ in cache.get(name).files().view)
        return {"entries": entries, "view": time.perf_counter() - begun, "count": count}


def list_tar(tar: str) -> dict[str, float]:
    """The same by `tarfile`."""
    import tarfile

    begun = time.perf_counter()
    with tarfile.open(tar) as opened:
        count = len(opened.getmembers())
    return {"entries": time.perf_counter() - begun, "count": count}


if __name__ == "__main__":
    import json

    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
