"""Rows as a table to read, and as JSON to keep."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Row

WIDTHS = (46, 9, 6, 5, 8, 8)

LEGEND = """\
time    median of the runs; +- is half of what lies between the fastest and the slowest
sync    whether the program waits until the disk has what it wrote; - where it writes nothing
cpu     seconds of all its cores, without the registry's; where it is empty a part of a process was timed
memory  largest resident set over a bare interpreter; of skopeo and umoci, which are none, all of it
ratio   this time by the other's in the same runs: below 1 is faster. 1.05 to a bound is 0.95 of its rate"""


def heading() -> str:
    return _line("", "time", "+-", "sync", "cpu", "memory", "ratio to")


def lines(row: Row) -> str:
    beside = ", ".join(f"{ratio:.2f} x {other}" for other, ratio in row.beside)
    said = "; ".join(part for part in (beside, row.note) if part)
    if row.median is None:
        return _line(f"  {row.what}", "-", "", "", "", "", said)
    spread = (max(row.seconds) - min(row.seconds)) / 2 / row.median
    peak = "" if row.peak is None else f"{row.peak / 2**20:.0f} MiB"
    around = f"{spread:.0%}" if len(row.seconds) > 1 else ""
    used = _time(median(row.cpu)) if row.cpu else ""
    return _line(f"  {row.what}", _time(row.median), around, row.syncs, used, peak, said)


def write_json(path: Path, machine: str, settings: dict[str, object], rows: list[Row]) -> None:
    """All single runs too; seconds and bytes."""
    document = {
        "machine": machine,
        **settings,
        "rows": [
            {
                "case": row.case,
                "what": row.what,
                "synced": row.syncs,
                "median_seconds": row.median,
                "seconds": row.seconds,
                "ratios": dict(row.beside),
                "cpu_seconds": row.cpu,
                "peak_bytes": row.peaks,
                "note": row.note,
                "figures": row.figures,
            }
            for row in rows
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def _line(what: str, *columns: str) -> str:
    cells = [f"{what:{WIDTHS[0]}}"]
    cells += [f"{text:>{width}}" for text, width in zip(columns, WIDTHS[1:], strict=False)]
    return "  ".join([*cells, *columns[len(WIDTHS) - 1 :]]).rstrip()


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.5 else f"{seconds:.2f} s"
