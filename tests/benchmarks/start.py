"""How long it takes before anything begins: whole processes beside a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Row, bare_interpreter, cache_url
from benchmarks.measure import Contender, new_folder, probe, run

if TYPE_CHECKING:
    from collections.abc import Iterator


GET_BAR = 4.5
"""Starts of a bare interpreter that a small warm layer may take; `tests/cli/test_start.py` counts modules."""


def startup(bench: Bench) -> Iterator[Row]:
    """The import, the least command, a small warm layer, and other commands that look at a warm cache.

    Of the program as a wheel installs it. The environment of the tests takes a tenth longer.
    """
    case, times = "startup", bench.sizes.starts
    layer = bench.images.layer(bench.sizes.small[1])
    url = cache_url(new_folder(bench.scratch), sync=True)
    run(probe("put", url, layer.path))
    ls = [bench.installed, "ls", "--cache", url]
    get = [bench.installed, "get", "--cache", url, str(layer.diff_id)]
    warm = "layercache get, a warm small layer"
    contenders = [
        Contender("a bare interpreter", lambda _: bare_interpreter()),
        Contender("import layercache", lambda _: [sys.executable, "-c", "import layercache"]),
        Contender("layercache --version", lambda _: [bench.installed, "--version"]),
        Contender(warm, lambda _: get, quiet=True),
        Contender("layercache --help", lambda _: [bench.installed, "--help"], quiet=True),
        Contender("layercache ls, of one layer", lambda _: ls, quiet=True),
        Contender("layercache stats", lambda _: [bench.installed, "stats", "--cache", url], quiet=True),
    ]
    runs = bench.interleaved(*contenders, runs=times)
    rows = [bench.row(case, each.name, runs[each.name]) for each in contenders]
    for row in rows:
        row.note = f"bar {GET_BAR}" if row.what == warm else ""
        yield row.compared(rows[0]) if row is not rows[0] else row
    yield Row(case, "import layercache, by -X importtime", [_import_time() for _ in range(times)])


def _import_time() -> float:
    """Seconds of the import alone, with all that it imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import layercache"],
        capture_output=True,
        text=True,
        check=True,
    )
    last = done.stderr.splitlines()[-1].split("|")
    assert last[2].strip() == "layercache", "the last line is of what was imported last"
    return int(last[1]) / 1e6
