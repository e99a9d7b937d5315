"""A bucket on loopback: through our backend, through the raw fsspec file system of its kind, and by curl."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.bench import MB, Bench, Row, cache_url
from benchmarks.bucket_stores import GCS, S3, Store
from benchmarks.measure import Contender, Run, run

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator

    Measure = Callable[["Place"], Iterator[Row]]

_PROBES = str(Path(__file__).with_name("bucket_probes.py"))
_CURL = ("curl", "-sS", "--fail")
THREADS = 16
SLOW = 60 * MB
"""Bytes a second of one slow connection."""

OURS, CURL = "ours", "curl"
PART, IN_FLIGHT = 8 << 20, 2
BY_PARTS = "curl, in parts as ours, 2 at once"
COLD = "get of the diff ID, read"
PIPE = "curl | inflating"

STORES: dict[str, type[Store]] = {"s3": S3, "gcs": GCS}


@dataclass(frozen=True)
class Place:
    """Where a case is measured. ``case``: its name, as it begins the titles of its rows."""

    bench: Bench
    store: Store
    case: str

    @property
    def stream(self) -> str:
        return f"{self.store.client}: one stream of its client"

    def raw(self, name: str, *arguments: object) -> list[str]:
        """A probe of the raw file system."""
        store = self.store
        return _probe(name, store.client, store.endpoint, store.bucket, *arguments)


def stores(folder: Path, stack: contextlib.ExitStack) -> dict[str, Store]:
    return {name: store(folder, stack) for name, store in STORES.items()}


def cases() -> dict[str, Callable[[Bench], Iterator[Row]]]:
    """Of each service: one big object, many small ones, slow connections, a layer by its diff ID."""
    kinds: dict[str, Measure] = {"": _big, "_small": _small, "_slow": _slow, "_cold": _cold}
    return {
        service + kind: partial(_case, service=service, kind=kind, measure=measure)
        for service in STORES
        for kind, measure in kinds.items()
    }


def _case(bench: Bench, service: str, kind: str, measure: Measure) -> Iterator[Row]:
    place = Place(bench, bench.stores[service], service + kind)
    if lacking := place.store.absent():
        yield Row(place.case, OURS, note=f"{', '.join(lacking)}: not installed here")
    else:
        yield from measure(place)


def _big(place: Place) -> Iterator[Row]:
    """One big object, written and read."""
    bench, store = place.bench, place.store
    size = bench.sizes.bucket
    path = store.file(size)
    put, get = store.address("curl/object", upload=True), store.address("curl/object")
    to_nothing = (*_CURL, "-o", os.devnull)
    contenders = [
        Contender(OURS, lambda _: _probe("ours", store.url("ours"), path)),
        Contender("raw", lambda _: place.raw("raw_big", path)),
        Contender("write", lambda _: [*to_nothing, *store.uploading, "-T", str(path), put]),
        Contender("read", lambda _: [*to_nothing, get]),
    ]
    if store.client == "s3fs":
        contenders.append(
            Contender(
                BY_PARTS,
                lambda folder: _probe(
                    "curl_parts", store.endpoint, store.bucket, path, folder, PART, IN_FLIGHT
                ),
            )
        )
    runs = bench.interleaved(*contenders)
    for way, theirs in (("write", f"{store.client}: put_file"), ("read", place.stream)):
        case = f"{place.case}: {size / MB:.0f} MB, {way}"
        ours = _inside(bench, case, OURS, runs[OURS], way, size)
        raw = _inside(bench, case, theirs, runs["raw"], way, size)
        peer = bench.row(case, CURL, runs[way])
        peer.peaks.clear()
        peer.note = _rate(peer, size)
        parts = (
            [_inside(bench, case, BY_PARTS, runs[BY_PARTS], way, size)]
            if way == "write" and BY_PARTS in runs
            else []
        )
        yield ours.compared(peer, raw, *parts)
        yield raw
        yield peer
        yield from parts


def _small(place: Place) -> Iterator[Row]:
    """Many small objects."""
    bench, store = place.bench, place.store
    count, size = bench.sizes.small
    one_by_one, by_curl = f"{store.client}, one after the other", f"curl, {THREADS} at once"
    contenders = [
        Contender(f"{OURS}, {THREADS} threads", lambda _: _ours_small(place, THREADS)),
        Contender(f"{OURS}, 1 thread", lambda _: _ours_small(place, 1)),
        Contender(one_by_one, lambda _: place.raw("raw_small", count, size)),
    ]
    if store.client == "s3fs" and find_spec("obstore") is not None:
        probe = _probe("obstore_small", store.endpoint, store.bucket, count, size, THREADS)
        contenders.append(Contender(f"obstore, {THREADS} threads", lambda _: probe))
    names = [f"curl/small/{number}" for number in range(count)]
    transfers = {way: _many_by_curl(store, names, size, way) for way in ("put", "get")}
    by_hand = [Contender(way, partial(_always, command), quiet=True) for way, command in transfers.items()]
    runs = bench.interleaved(*contenders, *by_hand)
    for way in transfers:
        case = f"{place.case}: {count} x {size / 1000:.0f} KB, {way}"
        rows = [bench.row(case, each.name, runs[each.name], inside=way) for each in contenders]
        for row in rows:
            used = median(one.said(f"{way} cpu") for one in runs[row.what]) / count
            row.note = f"{count / (row.median or 1):.0f}/s, {used * 1e3:.2f} ms of CPU each"
        peer = bench.row(case, by_curl, runs[way])
        peer.peaks.clear()
        peer.note = f"{count / (peer.median or 1):.0f}/s"
        slowest = next(row for row in rows if row.what == one_by_one)
        for row in rows:
            yield row.compared(slowest, peer) if row is not slowest else row
        yield peer


def _slow(place: Place) -> Iterator[Row]:
    """One big object, where each connection is slow."""
    bench, store = place.bench, place.store
    size = bench.sizes.bucket
    case = f"{place.case}: {size / MB:.0f} MB, {SLOW / MB:.0f} MB/s a connection"
    run(_probe("ours", store.url("slow"), store.file(size)))
    from layercache.testing import Fault, FaultProxy

    with FaultProxy(urlsplit(store.endpoint).port or 0) as proxy:
        proxy.always, endpoint = Fault(bandwidth=SLOW), proxy.url
        one = _probe("raw_read", store.client, endpoint, store.bucket, "slow/object")
        runs = bench.interleaved(
            Contender(OURS, lambda _: _probe("ours_read", store.url("slow", endpoint), "object")),
            Contender(place.stream, lambda _: one),
        )
    ours = _inside(bench, case, OURS, runs[OURS], "read", size)
    raw = _inside(bench, case, place.stream, runs[place.stream], "read", size)
    yield ours.compared(raw)
    yield raw


def _cold(place: Place) -> Iterator[Row]:
    """A layer's tar by its diff ID: a new tier on disk, the gzip in the bucket, both forms kept."""
    bench, far = place.bench, place.store.url("cold")
    layer = bench.images.layer(bench.sizes.big)
    case = f"{place.case}: {layer.tar_size / MB:.0f} MB tar, {layer.size / MB:.0f} MB gzip"
    run(_probe("keep", far, layer.path))
    address = place.store.address(f"cold/blobs/{layer.digest.algorithm}/{layer.digest.hex}")
    pipe = f"{shlex.join((*_CURL, address))} | {shlex.join(_probe('inflate_stream'))}"
    runs = bench.interleaved(
        Contender(
            COLD, lambda folder: _probe("cold", cache_url(folder / "near", sync=False), far, layer.diff_id)
        ),
        Contender(PIPE, lambda _: ["sh", "-c", pipe]),
    )
    ours = _inside(bench, case, COLD, runs[COLD], "seconds", layer.tar_size)
    ours.syncs = "no"
    bound = _inside(bench, case, PIPE, runs[PIPE], "seconds", layer.tar_size)
    yield ours.compared(bound)
    yield bound


def _probe(name: str, *arguments: object) -> list[str]:
    """As `measure.probe`, of `bucket_probes`."""
    return [sys.executable, _PROBES, name, *map(str, arguments)]


def _ours_small(place: Place, threads: int) -> list[str]:
    return _probe("ours_small", place.store.url("ours"), *place.bench.sizes.small, threads)


def _many_by_curl(store: Store, names: list[str], size: int, way: str) -> list[str]:
    """The command for all of them. What is put is one file; what is got goes to the standard output."""
    upload = way == "put"
    lines = [f'url = "{store.address(name, upload=upload)}"' for name in names]
    if upload:
        lines += [f'upload-file = "{store.file(size)}"'] * len(names)
    transfers = store.folder / f"curl-{store.client}-{way}"
    transfers.write_text("\n".join(lines))
    at_once = ("--parallel", "--parallel-max", str(THREADS))
    return [*_CURL, *at_once, *(store.uploading if upload else ()), "--config", str(transfers)]


def _always(command: list[str], _: Path) -> list[str]:
    return command


def _inside(bench: Bench, case: str, what: str, runs: list[Run], name: str, size: int) -> Row:
    row = bench.row(case, what, runs, inside=name)
    used = median(each.said(f"{name} cpu") for each in runs)
    row.note = f"{_rate(row, size)}, {used:.3f} s of CPU"
    return row


def _rate(row: Row, size: int) -> str:
    return f"{size / MB / (row.median or 1):.0f} MB/s"
