"""Cold pulls from a registry on loopback, beside skopeo, and what they need of memory."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row, cache_url, program
from benchmarks.bound import cores, tar_parts
from benchmarks.images import missing
from benchmarks.measure import Contender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SKOPEO = "skopeo copy to oci:, compressed form alone"
SKOPEO_DIR = "skopeo copy to dir:, likewise"
MEMORY_MAX = 100 << 20
JOBS = (1, 2, 4, 8)


def big(bench: Bench) -> Iterator[Row]:
    """One big layer."""
    return _beside_skopeo(bench, "big", 1, bench.sizes.big)


def medium(bench: Bench) -> Iterator[Row]:
    """A usual image: some layers of some size; and the least time that the cores need for both forms."""
    rows = list(_beside_skopeo(bench, "medium", *bench.sizes.medium))
    yield from rows
    pulled = {row.what: row for row in rows}
    if "pull --form both" in pulled:
        yield from _bound(bench, pulled["pull --form both"], pulled["pull --form compressed"])


def small(bench: Bench) -> Iterator[Row]:
    """Very many, very small layers."""
    return _beside_skopeo(bench, "small", *bench.sizes.small)


def memory(bench: Bench) -> Iterator[Row]:
    """The most memory that a pull ever has."""
    for count, size in ((1, bench.sizes.memory), bench.sizes.small):
        case = _title("memory", count, size)
        if absent := missing("docker-registry"):
            yield Row(case, "pull --form both", note=_not_installed(absent))
            continue
        pulling = _pull(bench.images.image(count, size), "both", sync=True)
        row = bench.row(case, pulling.name, bench.interleaved(pulling)[pulling.name], syncs="yes")
        row.note = f"{(row.peak or 0) / MEMORY_MAX:.2f} of the 100 MiB that it may take"
        yield row


def jobs(bench: Bench) -> Iterator[Row]:
    """Layers at the same time: few, many."""
    for name, (count, size) in (("medium", bench.sizes.medium), ("small", bench.sizes.small)):
        case = _title(f"jobs, {name}", count, size)
        if absent := missing("docker-registry"):
            yield Row(case, "pull --form both", note=_not_installed(absent))
            continue
        image = bench.images.image(count, size)
        contenders = [_pull(image, "both", sync=False, jobs=number) for number in JOBS]
        runs = bench.interleaved(*contenders)
        rows = [bench.row(case, each.name, runs[each.name], syncs="no") for each in contenders]
        for row in rows:
            yield row.compared(rows[0]) if row is not rows[0] else row


def _beside_skopeo(bench: Bench, case: str, count: int, size: int) -> Iterator[Row]:
    case = _title(case, count, size)
    if absent := missing("docker-registry"):
        yield Row(case, "pull", note=_not_installed(absent))
        return
    image = bench.images.image(count, size)
    both, both_unsynced = (_pull(image, "both", sync=sync) for sync in (True, False))
    one, one_unsynced = (_pull(image, "compressed", sync=sync) for sync in (True, False))
    to_layout = Contender(SKOPEO, lambda folder: _skopeo(image, f"oci:{folder}/layout:latest"))
    to_dir = Contender(SKOPEO_DIR, lambda folder: _skopeo(image, f"dir:{folder}/dir"))
    peers = [] if missing("skopeo") else [to_layout, to_dir]
    runs = bench.interleaved(both, both_unsynced, one, one_unsynced, *peers)
    rows = {each: bench.row(case, each.name, runs[each.name], syncs="yes") for each in (both, one)}
    beside = [bench.row(case, peer.name, runs[peer.name], syncs="yes", ours=False) for peer in peers]
    for synced, unsynced in ((both, both_unsynced), (one, one_unsynced)):
        yield rows[synced].compared(*beside)
        row = bench.row(case, unsynced.name, runs[unsynced.name], syncs="no").compared(rows[synced])
        row.beside = [("the same, synced", ratio) for _, ratio in row.beside]
        yield row
    yield from beside or [Row(case, SKOPEO, note=_not_installed(["skopeo"]))]


def _bound(bench: Bench, both: Row, compressed: Row) -> Iterator[Row]:
    """The CPU time of pulling one form, and of the tars' parts alone; the registry's is not counted."""
    count, size = bench.sizes.medium
    parts = tar_parts(bench.images.layer(size))
    runs = bench.interleaved(*parts)
    work = {"pull --form compressed": median(compressed.cpu)}
    work |= {part.name: count * median(each.said("cpu") for each in runs[part.name]) for part in parts}
    row = Row(
        both.case, f"bound of both forms: all CPU work / {cores()} cores", [sum(work.values()) / cores()]
    )
    row.note = ", ".join(f"{name} {seconds:.3f}" for name, seconds in work.items())
    used = Row(both.case, f"CPU of pull --form both / {cores()} cores", [median(both.cpu) / cores()])
    yield used.compared(row)
    yield row


def _pull(image: str, form: str, *, sync: bool, jobs: int = 0) -> Contender:
    def command(folder: Path) -> list[str]:
        options = ["--jobs", str(jobs)] if jobs else []
        url = cache_url(folder / "cache", sync=sync)
        return [*program(), "pull", "--quiet", "--cache", url, "--form", form, *options, image]

    name = f"pull --form {form}" + (f" --jobs {jobs}" if jobs else "")
    return Contender(name if sync or jobs else f"{name}, unsynced", command)


def _skopeo(image: str, target: str) -> list[str]:
    options = ["--quiet", "--src-tls-verify=false"]
    return ["skopeo", "--insecure-policy", "copy", *options, f"docker://{image}", target]


def _title(case: str, count: int, size: int) -> str:
    return f"{case}: {count} x {f'{size / MB:.0f} MB' if size >= MB else f'{size / 1000:.0f} KB'}"


def _not_installed(programs: list[str]) -> str:
    return f"{', '.join(programs)}: not installed here"
