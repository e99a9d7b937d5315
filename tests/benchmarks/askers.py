"""Many threads of one process ask for the same cold layer at once, beside one that asks for it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row, cache_url
from benchmarks.images import missing
from benchmarks.measure import Contender, new_folder, probe, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.measure import Run

WAYS = {"path": "for the tar's path", "read": "for the tar, read whole"}


def askers(bench: Bench) -> Iterator[Row]:
    """One fetch and one inflation, however many ask; the last one is done hardly later than one alone.

    Who asks for the path has the file and reads nothing. Who reads copies every byte for itself, which takes
    many readers of any file their time: that is measured too, and set aside in a ratio of its own.
    """
    layer, many = bench.images.layer(bench.sizes.asked), bench.sizes.askers
    case = f"askers: a gzip of {layer.size / MB:.0f} MB, its tar {layer.tar_size / MB:.0f} MB"
    if absent := missing("docker-registry"):
        yield Row(case, f"{many} askers", note=f"{', '.join(absent)}: not installed here")
        return
    image = bench.images.image(1, bench.sizes.asked)
    folder = new_folder(bench.scratch)
    run(probe("put", cache_url(folder, sync=False), layer.path))
    stored = folder / "blobs" / layer.diff_id.algorithm / layer.diff_id.hex
    before = bench.images.registry.fetches(layer.digest)
    asking = {
        (way, count): Contender(f"{way} {count}", _asking(image, way, count))
        for way in WAYS
        for count in (1, many)
    }
    reading = {count: Contender(f"plain {count}", _reading(stored, count)) for count in (1, many)}
    runs = bench.interleaved(*asking.values(), *reading.values())
    fetches = bench.images.registry.fetches(layer.digest) - before
    pulls = len(asking) * (bench.runs + bench.warms)
    plain = {
        count: bench.row(case, f"{_named(count, 'plain reader')} of the file", runs[each.name], inside="last")
        for count, each in reading.items()
    }
    for way, said in WAYS.items():
        alone, together = (runs[asking[way, count].name] for count in (1, many))
        one = bench.row(case, f"1 asker {said}", alone, syncs="no", inside="last")
        row = bench.row(case, f"{many} askers {said}", together, syncs="no", inside="last")
        row.note = (
            f"{_most(together, 'fetched')} fetched, {_most(together, 'inflated')} inflated by the events"
        )
        if way == "read":
            copying = (plain[many].median or 0) - (plain[1].median or 0)
            rest = (row.median or 0) - copying
            row.note += f"; {rest / (one.median or 1):.2f} x with the plain reads set aside"
        yield row.compared(one)
        yield one
    plain[many].note = f"by the registry's log {fetches} fetches in {pulls} pulls"
    yield plain[many]
    yield plain[1]


def _asking(image: str, way: str, count: int) -> Callable[[Path], list[str]]:
    return lambda folder: probe("ask", cache_url(folder / "cache", sync=False), image, way, count)


def _reading(stored: Path, count: int) -> Callable[[Path], list[str]]:
    return lambda _: probe("read_together", stored, count)


def _named(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _most(runs: Sequence[Run], name: str) -> int:
    """Of all runs, so that one in which more was done cannot hide."""
    return int(max(each.said(name) for each in runs))
