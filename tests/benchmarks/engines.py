"""What obstore brings as the engine of our backend: beside our own requests, and beside obstore alone."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row
from benchmarks.buckets import THREADS
from benchmarks.measure import Contender

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROBES = str(Path(__file__).with_name("bucket_probes.py"))

OWN, BY_OBSTORE, ALONE = "ours, engine=fsspec", "ours, engine=obstore", "obstore alone"


def engines(bench: Bench) -> Iterator[Row]:
    """Many small objects, in threads and one after the other; one big object."""
    lacking = bench.stores["s3"].absent() or ([] if find_spec("obstore") else ["obstore"])
    if lacking:
        yield Row("engines", OWN, note=f"{', '.join(lacking)}: not installed here")
        return
    for threads in (THREADS, 1):
        yield from _small(bench, threads)
    yield from _big(bench)


def _small(bench: Bench, threads: int) -> Iterator[Row]:
    store, (count, size) = bench.stores["s3"], bench.sizes.small
    alone = _probe("obstore_small", store.endpoint, store.bucket, count, size, threads)
    runs = bench.interleaved(
        Contender(OWN, lambda _: _probe("ours_small", _url(bench, "fsspec"), count, size, threads)),
        Contender(BY_OBSTORE, lambda _: _probe("ours_small", _url(bench, "obstore"), count, size, threads)),
        Contender(ALONE, lambda _: alone),
    )
    for way in ("put", "get"):
        case = f"engines: {count} x {size / 1000:.0f} KB, {threads} at once, {way}"
        rows = {what: bench.row(case, what, runs[what], inside=way) for what in runs}
        for what, row in rows.items():
            used = median(one.said(f"{way} cpu") for one in runs[what]) / count
            row.note = f"{count / (row.median or 1):.0f}/s, {used * 1e3:.2f} ms of CPU each"
        yield rows[OWN]
        yield rows[BY_OBSTORE].compared(rows[OWN], rows[ALONE])
        yield rows[ALONE]


def _big(bench: Bench) -> Iterator[Row]:
    size = bench.sizes.bucket
    path = bench.stores["s3"].file(size)
    runs = bench.interleaved(
        Contender(OWN, lambda _: _probe("ours", _url(bench, "fsspec"), path)),
        Contender(BY_OBSTORE, lambda _: _probe("ours", _url(bench, "obstore"), path)),
    )
    for way in ("write", "read"):
        case = f"engines: {size / MB:.0f} MB, {way}"
        rows = {what: bench.row(case, what, runs[what], inside=way) for what in runs}
        for what, row in rows.items():
            used = median(one.said(f"{way} cpu") for one in runs[what])
            row.note = f"{size / MB / (row.median or 1):.0f} MB/s, {used:.3f} s of CPU"
        yield rows[OWN]
        yield rows[BY_OBSTORE].compared(rows[OWN])


def _url(bench: Bench, engine: str) -> str:
    return f"{bench.stores['s3'].url(engine)}&engine={engine}"


def _probe(name: str, *arguments: object) -> list[str]:
    return [sys.executable, _PROBES, name, *map(str, arguments)]
