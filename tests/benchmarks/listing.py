"""A large cache listed and counted: whole processes, beside ``find``, and the system's calls alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Row, cache_url, program
from benchmarks.measure import Contender, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRIES = 4
"""Objects a layer: two blobs, and a record of each of its names."""

PEER = "find -printf"


def listing(bench: Bench) -> Iterator[Row]:
    """``ls`` and ``stats`` of a cache in which both forms of each layer are."""
    layers = bench.sizes.listed
    root, _ = bench.filled(layers)
    case = f"listing: {layers:,} layers, {layers * ENTRIES:,} entries"
    url = cache_url(root, sync=False)
    commands = {
        "ls": ["ls"],
        "ls --sort none": ["ls", "--sort", "none"],
        "ls --json": ["ls", "--json"],
        "stats": ["stats"],
    }
    ours = [
        Contender(name, lambda _, command=command: [*program(), *command, "--cache", url], quiet=True)  # type: ignore[misc]
        for name, command in commands.items()
    ]
    calls = Contender("calls", lambda _: probe("look_over", root))
    found = ["find", str(root), "-type", "f", "-printf", "%s %T@ %p\\n"]  # sizes and times, no contents
    find = Contender(PEER, lambda _: found, quiet=True)
    runs = bench.interleaved(*ours, calls, find)
    bounds = {
        inside: bench.row(case, f"the system's calls for {what} alone", runs[calls.name], inside=inside)
        for inside, what in (("layers", "each layer"), ("all", "each layer, all blobs listed"))
    }
    peer = bench.row(case, PEER, runs[PEER], ours=False)
    for each in ours:
        row = bench.row(case, each.name, runs[each.name])
        seconds = row.median or 0
        row.note = f"{layers / seconds:,.0f} layers, {layers * ENTRIES / seconds:,.0f} entries a second"
        yield row.compared(bounds["all" if each.name == "stats" else "layers"], peer)
    yield from bounds.values()
    yield peer
