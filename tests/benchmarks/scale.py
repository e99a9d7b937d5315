"""Thousands of machines that start one image, in virtual time: see the package ``simulation``."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bench import Bench, Row
from benchmarks.measure import Run, run

if TYPE_CHECKING:
    from collections.abc import Iterator

SIMULATE = str(Path(__file__).resolve().parents[1] / "simulation" / "run.py")
TIMEOUT = 4 * 3600.0
AT_ONCE = 2
CASE = "scale: "


def scale(bench: Bench) -> Iterator[Row]:
    """Fleets of machines in front of each service, with and without leases. Each is simulated once.

    Two at a time: a run is one thread, and what it finds does not depend on how long it takes.
    """
    commands = [
        [sys.executable, SIMULATE, "--machines", str(machines), "--service", service, *options]
        for service in ("s3", "gcs")
        for machines in bench.sizes.machines
        for options in (["--leases"], [])
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from map(row_of, pool.map(partial(run, timeout=TIMEOUT), commands))


def row_of(done: Run) -> Row:
    """What a run counted. The row's seconds are virtual, its CPU time and memory are those of the run."""
    counted: dict[str, Any] = json.loads(done.output)
    asked, machines = counted["asked"], counted["machines"]
    figures = {
        "machines": machines,
        "requests": sum(asked.values()),
        "reads": sum(count for kind, count in asked.items() if kind.startswith(("GET", "HEAD"))),
        "listings": sum(count for kind, count in asked.items() if kind.startswith("LIST")),
        "refused": sum(counted["refused"].values()),
        "dollars": counted["dollars"],
        "fetches": counted["fetched"],
        "fetches_of_big_layers": counted["fetched_big"],
        "fetched_bytes": counted["fetched_bytes"],
        "seconds": counted["pulled_last"],
        "longest_wait": counted["wait_longest"],
        "failures": counted["events"].get("failed", 0) + len(counted["errors"]),
    }
    note = (
        f"{figures['requests']:,} requests, {figures['refused']:,} refused, ${figures['dollars']:.4f};"
        f" {figures['fetches']:,} fetches upstream, {figures['fetched_bytes'] / 1e9:,.1f} GB"
    )
    leases = "with leases" if counted["leases"] else "without leases"
    case = f"{CASE}{counted['service']}, virtual time until all machines have the image"
    what = f"{machines:,} machines {leases}"
    row = Row(case, what, [figures["seconds"]], cpu=[done.cpu], peaks=[done.peak], note=note)
    row.figures = figures | {"leases": float(counted["leases"])}
    return row
