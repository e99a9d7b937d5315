"""One pass over a big layer beside the least time that this machine's cores need for its work."""

from __future__ import annotations

import os
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row, cache_url
from benchmarks.measure import Contender, probe

from layercache.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_ZSTD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.layers import MadeLayer

INFLATE = "inflate"
ZLIB = "inflating alone, by Python's zlib"


def bound(bench: Bench) -> Iterator[Row]:
    """gzip and zstd, out of a local file, so that no registry takes a share of the cores."""
    for name, media_type in (("gzip", OCI_LAYER_GZIP), ("zstd", OCI_LAYER_ZSTD)):
        layer = bench.images.layer(bench.sizes.big, media_type=media_type)
        yield from _beside_bound(bench, f"bound: {name}, {layer.tar_size / MB:.0f} MB", layer)


def _beside_bound(bench: Bench, case: str, layer: MadeLayer) -> Iterator[Row]:
    parts = _parts(layer)
    ours = Contender(
        "one pass, both forms, from a file",
        lambda folder: probe(
            "fill",
            cache_url(folder / "cache", sync=False),
            layer.path,
            layer.digest,
            layer.diff_id,
            layer.size,
            layer.media_type,
        ),
    )
    plain = [Contender(ZLIB, lambda _: probe("zlib_part", layer.path))]
    if layer.media_type != OCI_LAYER_GZIP:
        plain = []
    runs = bench.interleaved(ours, *parts, *plain)
    work = {part.name: median(each.said("cpu") for each in runs[part.name]) for part in parts}
    evenly = Row(case, f"bound: all CPU work / {cores()} cores", [sum(work.values()) / cores()])
    longest = max(work, key=lambda name: work[name])
    evenly.note = ", ".join(f"{name} {seconds:.3f}" for name, seconds in work.items())
    serially = Row(case, f"bound: the longest part, {longest}", [work[longest]])
    serially.note = "one stream cannot be split" if longest.startswith(INFLATE) else ""
    row = bench.row(case, ours.name, runs[ours.name], syncs="no", inside="seconds")
    used = median(each.said("cpu") for each in runs[ours.name])
    row.note = f"{used:.3f} s of CPU, start of the process included"
    yield row.compared(max(evenly, serially, key=lambda each: each.median or 0))
    yield evenly
    yield serially
    for each in plain:
        yield bench.row(case, each.name, runs[each.name], inside="cpu")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parts(layer: MadeLayer) -> list[Contender]:
    """The work that nobody can leave out, each part of it alone."""
    return [
        Contender("read", lambda _: probe("read_part", layer.path)),
        Contender("sha256 of the blob", lambda _: probe("hash_part", layer.size)),
        Contender("write the blob", lambda folder: probe("write_part", folder, layer.size)),
        *tar_parts(layer),
    ]


def tar_parts(layer: MadeLayer) -> list[Contender]:
    """The part of it that the tar takes beside its blob."""
    return [
        Contender(INFLATE, lambda _: probe("inflate_part", layer.path, layer.media_type)),
        Contender("sha256 of the tar", lambda _: probe("hash_part", layer.tar_size)),
        Contender("write the tar", lambda folder: probe("write_part", folder, layer.tar_size)),
    ]
