"""A tar compressed to zstd or gzip: by the cache, and by the programs zstd and pigz."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row, cache_url, program
from benchmarks.images import missing
from benchmarks.measure import Contender, new_folder, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.layers import MadeLayer

OURS = "layercache compress: hashed, inflated again, compared"


@dataclass(frozen=True)
class Peer:
    """A program: shell commands that compress ``tar`` into ``made``, and that inflate ``made``."""

    program: str
    name: str
    compress: str
    inflate: str

    def alone(self, folder: Path, tar: Path) -> list[str]:
        return self._run(folder, tar, f"{self.compress}; stat -c %s $made")

    def checked(self, folder: Path, tar: Path) -> list[str]:
        """With what the cache does besides: the hash of the blob, and that of what it inflates to."""
        return self._run(
            folder, tar, f"{self.compress}; stat -c %s $made; sha256sum $made; {self.inflate} | sha256sum"
        )

    def _run(self, folder: Path, tar: Path, script: str) -> list[str]:
        names = f"tar={shlex.quote(str(tar))} made={shlex.quote(str(folder / 'made'))}"
        return ["sh", "-ec", f"{names}; {script}"]


PEERS = {
    "zstd": Peer("zstd", "zstd -3 -T0", "zstd -q -3 -T0 $tar -o $made", "zstd -dcq $made"),
    "gzip": Peer("pigz", "pigz -6", "pigz -6 -c $tar > $made", "pigz -dc $made"),
}


def compress(bench: Bench) -> Iterator[Row]:
    """Each at its default level, on all cores, out of the page cache into a file that is not synced."""
    layer, filled = bench.images.layer(bench.sizes.big), new_folder(bench.scratch)
    run([*program(), "put", "--cache", cache_url(filled, sync=False), str(layer.path)])
    tar = filled / "blobs" / "sha256" / layer.diff_id.hex
    for kind, peer in PEERS.items():
        contenders = [
            Contender(peer.name, partial(peer.alone, tar=tar)),
            Contender(f"{peer.name}, and the same checks", partial(peer.checked, tar=tar)),
        ]
        yield from _compared(bench, kind, layer, filled, [] if missing(peer.program) else contenders)


def _compared(
    bench: Bench, kind: str, layer: MadeLayer, filled: Path, peers: list[Contender]
) -> Iterator[Row]:
    case = f"compress: {kind}, {layer.tar_size / MB:.0f} MB"

    def ours(folder: Path) -> list[str]:
        # The tar is in a tier behind that of the blob, so that each run begins with an empty one.
        near, far = cache_url(folder / "cache", sync=False), cache_url(filled, sync=False)
        tiers = ["--cache", f"{near}&keep=compressed", "--cache", f"{far}&readonly=true&trusted=true"]
        return [*program(), "compress", *tiers, layer.diff_id, "--as", kind]

    runs = bench.interleaved(Contender(OURS, ours), *peers)
    beside = [bench.row(case, each.name, runs[each.name], syncs="no", ours=False) for each in peers]
    for row in beside:
        row.note = _share(runs[row.what][0].output.split()[0], layer)
    row = bench.row(case, OURS, runs[OURS], syncs="no")
    row.note = _share(runs[OURS][0].output.split()[2], layer)
    yield row.compared(*beside)
    program_name = PEERS[kind].program
    yield from beside or [Row(case, PEERS[kind].name, note=f"{program_name}: not installed here")]


def _share(size: str, layer: MadeLayer) -> str:
    return f"{int(size) / MB:.1f} MB, {int(size) / layer.tar_size:.3f} of the tar"
