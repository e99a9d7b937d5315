"""The files of an image, out of a layout on disk: by umoci, and out of the cache."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row, cache_url, program
from benchmarks.images import missing
from benchmarks.measure import Contender, new_folder, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UMOCI = "umoci unpack, with the sha256 of each file"


def unpack(bench: Bench) -> Iterator[Row]:
    """A usual image. umoci inflates and hashes it each time, the cache when it is pulled first."""
    count, size = bench.sizes.medium
    case = f"unpack: {count} x {size / MB:.0f} MB"
    layout = bench.images.layout(count, size)
    tars = [bench.images.layer(size, number).diff_id.hex for number in range(count)]
    image, filled = f"oci:{layout}:latest", new_folder(bench.scratch)

    def pull(cache: Path) -> list[str]:
        url = cache_url(cache, sync=False)
        return [*program(), "pull", "--quiet", "--cache", url, "--form", "uncompressed", image]

    def extract(cache: Path, folder: Path) -> list[str]:
        steps = 'root=$1; shift; mkdir "$root"; for tar; do tar -C "$root" -xf "$tar"; done'
        blobs = [str(cache / "blobs" / "sha256" / tar) for tar in tars]
        return ["sh", "-ec", steps, "sh", f"{folder}/rootfs", *blobs]

    def both(folder: Path) -> list[str]:
        steps = (pull(folder / "cache"), extract(folder / "cache", folder))
        return ["sh", "-ec", " && ".join(map(shlex.join, steps))]

    run(pull(filled))
    cold = Contender("the first time: pull out of the layout, tar -x", both)
    ours = [*program(), "extract", "--cache", cache_url(filled, sync=False), image]
    again = Contender("later: layercache extract", lambda folder: [*ours, f"{folder}/rootfs"], quiet=True)
    warm = Contender("later: tar -x of the cache's tars", lambda folder: extract(filled, folder))
    umoci = ["umoci", "unpack", *(["--rootless"] if os.geteuid() else []), "--image", f"{layout}:latest"]
    peers = [] if missing("umoci") else [Contender(UMOCI, lambda folder: [*umoci, f"{folder}/bundle"])]
    runs = bench.interleaved(cold, warm, again, *peers)
    beside = [bench.row(case, peer.name, runs[peer.name], syncs="no", ours=False) for peer in peers]
    for each in (cold, warm, again):
        yield bench.row(case, each.name, runs[each.name], syncs="no").compared(*beside)
    yield from beside or [Row(case, UMOCI, note="umoci: not installed here")]
