"""What reads files of layers in a fresh process and measures inside itself: as `probes`, run the same way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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


def index_layer(url: str, root: str, blob: str) -> dict[str, float]:
    """Seconds of the first question about a layer whose blob a new cache at ``root`` has just got.

    ``cpu``: processor time of this process, in seconds. ``size``: bytes of both parts of the index.
    """
    import layercache

    with layercache.open(url) as cache:
        layer = cache.put(blob)
        begun, used = time.perf_counter(), time.process_time()
        len(layer.files())
        spent = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}
    return spent | {"size": sum(each.stat().st_size for each in Path(root, "derived").rglob("*-*"))}


def index_by_ratarmount(archive: str, index: str) -> dict[str, float]:
    """The same of the whole command that makes the index of a tar or a blob, with all cores."""
    begun = time.perf_counter()
    _make_index(archive, index)
    spent, times = time.perf_counter() - begun, os.times()
    cpu = times.children_user + times.children_system
    return {"seconds": spent, "cpu": cpu, "size": os.path.getsize(index)}


def first_byte_mounted(archive: str, index: str, at: str, path: str) -> dict[str, float]:
    """Seconds until ratarmount has mounted an archive, whose index is made before if it is missing; from
    then to the first byte of a file; and to another byte of it, opened again.
    """
    with _mounted(archive, index, at) as mounted:
        times = [mounted]
        for part in (0.0, 0.5):
            begun = time.perf_counter()
            with open(Path(at, path), "rb", buffering=0) as file:
                file.seek(int(part * os.fstat(file.fileno()).st_size))
                file.read(1)
            times.append(time.perf_counter() - begun)
    return dict(zip(("mounted", "first", "again"), times, strict=True))


def list_mounted(archive: str, index: str, at: str) -> dict[str, float]:
    """Seconds until each file of a mounted archive was seen, with what ``stat`` says of it."""
    with _mounted(archive, index, at):
        begun = time.perf_counter()
        for folder, folders, files in os.walk(at):
            for name in (*folders, *files):
                os.lstat(f"{folder}/{name}")
        return {"entries": time.perf_counter() - begun}


@contextlib.contextmanager
def _mounted(archive: str, index: str, at: str) -> Iterator[float]:
    """Have an archive mounted at a folder that is made; yields the seconds that mounting it took."""
    if not os.path.exists(index):
        _make_index(archive, index)
    os.mkdir(at)
    begun = time.perf_counter()
    server = subprocess.Popen(
        ["ratarmount", "--foreground", "--index-file", index, archive, at], stdout=subprocess.DEVNULL
    )
    try:
        while not os.path.ismount(at):
            if server.poll() is not None:
                raise SystemExit("ratarmount has ended")
            time.sleep(0.001)
        yield time.perf_counter() - begun
    finally:
        subprocess.run(["fusermount3", "-u", at], check=False)
        server.wait()


def _make_index(archive: str, index: str) -> None:
    command = ["ratarmount", "--no-mount", "--parallelization", "0", "--index-file", index, archive]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    import json

    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
