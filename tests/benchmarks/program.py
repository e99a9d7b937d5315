"""The harness's own command line: which cases, how often, where."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import buckets, table
from benchmarks.askers import askers
from benchmarks.bench import QUICK, Bench, Row, Sizes
from benchmarks.bound import bound
from benchmarks.compressing import compress
from benchmarks.engines import engines
from benchmarks.files import files
from benchmarks.images import Images
from benchmarks.listing import listing
from benchmarks.machine import describe, disturbances
from benchmarks.measure import BenchmarkError, environment
from benchmarks.pulls import big, jobs, medium, memory, small
from benchmarks.request_table import requests
from benchmarks.scale import scale
from benchmarks.serving import serve
from benchmarks.start import startup
from benchmarks.unpack import unpack
from benchmarks.warm import lookup, warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Case = Callable[[Bench], Iterator[Row]]

CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        big,
        medium,
        small,
        unpack,
        compress,
        bound,
        warm,
        lookup,
        listing,
        askers,
        memory,
        startup,
        engines,
        requests,
        serve,
        files,
    )
} | buckets.cases()
EXTRA: dict[str, Case] = {"jobs": jobs, "scale": scale}
GROUPS = {"buckets": list(buckets.cases())}
INTERRUPTED = 130


def main() -> int:
    options = _parse()
    sizes = QUICK if options.quick else Sizes()
    if options.entries:
        sizes = replace(sizes, entries=tuple(sorted({*sizes.entries, *options.entries})))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows: list[Row] = []
    try:
        machine = describe(Path(options.dir))
        print(machine)
        failed = _measure(options, sizes, rows)
    except KeyboardInterrupt:
        print("interrupted: what was written is removed", file=sys.stderr)
        return INTERRUPTED
    if options.json:
        table.write_json(options.json, machine, {"runs": options.runs, "quick": options.quick}, rows)
    return int(failed)


def _measure(options: argparse.Namespace, sizes: Sizes, rows: list[Row]) -> bool:
    """Run the cases, print and collect their rows; whether one failed."""
    failed = False
    with contextlib.ExitStack() as stack:
        prefix = "layercache-benchmark-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=options.dir)))
        (scratch := folder / "scratch").mkdir()
        stack.enter_context(environment(_plain_environment(folder)))
        bench = Bench(options.runs, sizes, Images(folder, stack), scratch, buckets.stores(folder, stack))
        for disturbance in disturbances(scratch):
            print(disturbance)
        print(f"{table.LEGEND}\n\n{table.heading()}", flush=True)
        for name in _asked(options.only):
            case = ""
            try:
                for row in (CASES | EXTRA)[name](bench):
                    if row.case != case:
                        print(f"\n{row.case}")
                    case = row.case
                    print(table.lines(row), flush=True)
                    rows.append(row)
            except BenchmarkError as error:
                print(f"\n{name}: failed: {error}", file=sys.stderr)
                failed = True
    return failed


def _asked(names: list[str] | None) -> list[str]:
    """The cases that are meant."""
    return [case for name in names or CASES for case in GROUPS.get(name, [name])]


def _plain_environment(folder: Path) -> dict[str, str | None]:
    """No settings and no credentials of whoever runs this."""
    ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("LAYERCACHE_")}
    proxies = {name: None for name in os.environ if name.lower().endswith("_proxy")}
    names = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")  # a line a call, if it is set
    python = dict.fromkeys(names)
    others = {"DOCKER_CONFIG": None, "REGISTRY_AUTH_FILE": None, "XDG_RUNTIME_DIR": None}
    return ours | proxies | python | others | {"HOME": str(folder)}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/benchmarks/run.py", description="Measure layercache beside other tools in the same runs."
    )
    names = [*CASES, *GROUPS, *EXTRA]
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"a case, repeatable: {', '.join(CASES)}; several at once: {', '.join(GROUPS)};"
        f" asked for alone: {', '.join(EXTRA)}",
    )
    parser.add_argument("--runs", type=_positive, default=5, metavar="N", help="of each program (default 5)")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work, not how fast is it")
    parser.add_argument(
        "--entries",
        action="append",
        type=_positive,
        metavar="N",
        help="look up in a cache of so many layers too (100000); repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run into a file too")
    parser.add_argument(
        "--dir",
        default=tempfile.gettempdir(),
        metavar="FOLDER",
        help="where to write, some 8 GB; by default $TMPDIR or the system's temporary folder",
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few")
    return number
