"""What is in the cache already: opened, looked up, read."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row, cache_url
from benchmarks.measure import Contender, new_folder, probe, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


COPY_BAR = 1.2
"""Times of ``cp`` that ``get -o`` of a big warm layer may take: the difference is its start."""


def warm(bench: Bench) -> Iterator[Row]:
    """A big layer by its diff ID, beside the stored file itself; out of the page cache."""
    layer = bench.images.layer(bench.sizes.big)
    case = f"warm: {layer.tar_size / MB:.0f} MB"
    folder = new_folder(bench.scratch)
    url = cache_url(folder, sync=False)
    run(probe("put", url, layer.path))
    stored = folder / "blobs" / layer.diff_id.algorithm / layer.diff_id.hex
    get = [bench.installed, "--cache", url, "get", layer.diff_id]
    runs = bench.interleaved(
        Contender("ours", lambda _: probe("warm", url, layer.diff_id)),
        Contender("file", lambda _: probe("plain", stored)),
        Contender("cat", lambda _: ["cat", str(stored)], quiet=True),
        Contender("get", lambda target: [*get, "-o", f"{target}/tar"]),
        Contender("cp", lambda target: ["cp", str(stored), f"{target}/tar"]),
        Contender("get | cat", lambda _: _into_a_pipe(get)),
        Contender("cat | cat", lambda _: _into_a_pipe(["cat", str(stored)])),
    )
    first = bench.row(case, "get and first byte", runs["ours"], inside="first")
    first_of_file = bench.row(case, "open of the file and first byte", runs["file"], inside="first")
    whole = bench.row(case, "whole read", runs["ours"], inside="whole")
    whole_file = bench.row(case, "whole read of the file", runs["file"], inside="whole")
    cat = bench.row(case, "cat to /dev/null", runs["cat"])
    cat.peaks.clear()  # less than its launcher's
    yield first.compared(first_of_file)
    yield first_of_file
    yield whole.compared(whole_file, cat)
    yield whole_file
    yield cat
    cp = bench.row(case, "cp to a new file", runs["cp"], syncs="no")
    cp.peaks.clear()
    copied = bench.row(case, "get -o into a new file", runs["get"], syncs="no").compared(cp)
    copied.note = f"bar {COPY_BAR}"
    yield copied
    yield cp
    piped, by_cat = (
        bench.row(case, what, runs[name])
        for what, name in (("get into a pipe", "get | cat"), ("cat into a pipe", "cat | cat"))
    )
    piped.peaks.clear()
    by_cat.peaks.clear()
    yield piped.compared(by_cat)
    yield by_cat


def _into_a_pipe(command: list[str]) -> list[str]:
    """The command's bytes through a pipe to somebody who reads them and nothing else."""
    return ["sh", "-c", f"{shlex.join(command)} | cat > {os.devnull}"]


def lookup(bench: Bench) -> Iterator[Row]:
    """By either name, in caches of few and of many layers: the same time in all."""
    contenders = {}
    for count in bench.sizes.entries:
        root, sample = bench.filled(count)
        contenders[count] = _looking_up(f"{count:,} layers", cache_url(root, sync=False), sample)
    runs = bench.interleaved(*contenders.values())
    ways = {"diff_id": "get by diff ID", "digest": "get by digest", "open": "open of the tar, after get"}
    for inside, way in ways.items():
        rows = [
            bench.row(f"lookup: {way}", each.name, runs[each.name], inside=inside)
            for each in contenders.values()
        ]
        for row in rows:
            yield row.compared(rows[0]) if row is not rows[0] else row


def _looking_up(name: str, url: str, sample: Path) -> Contender:
    return Contender(name, lambda _: probe("lookup", url, sample))
