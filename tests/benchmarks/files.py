"""Files out of layers: making their indexes, reading one file, listing and extracting all."""

from __future__ import annotations

import io
import random
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row, cache_url, program
from benchmarks.images import missing
from benchmarks.measure import Contender, medians

import layercache
from layercache.oci.descriptor import GZIP, NO_COMPRESSION, OCI_LAYER_ZSTD, ZSTD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.layers import MadeLayer

PROBES = str(Path(__file__).with_name("file_probes.py"))
TAR = "tar -x"
RATARMOUNT = "ratarmount"


def files(bench: Bench) -> Iterator[Row]:
    """A big layer in each form, and a tar of many small files."""
    layer = bench.images.layer(bench.sizes.big)
    zstd = bench.images.layer(bench.sizes.big, media_type=OCI_LAYER_ZSTD)
    yield from _tables(bench, layer.tar_size, GZIP, layer.path)
    yield from _tables(bench, zstd.tar_size, ZSTD, zstd.path)
    root = bench.scratch / "files"
    with layercache.open(cache_url(root, sync=False)) as cache:
        put = cache.put(str(layer.path))
        names = [entry.path for entry in put.files() if entry.type == "file"]
        tar = put.path()
        assert tar is not None
        yield from _tables(bench, layer.tar_size, NO_COMPRESSION, tar)
        many = cache.put(str(_many(bench)))
        assert len(many.files()) >= bench.sizes.listed
    if not missing_module("rapidgzip"):
        yield from _seek_points(bench, layer)
        yield from _index(bench, layer)
        yield from _whole(bench, layer)
    yield from _first_byte(bench, root, layer, tar, names[len(names) // 2])
    yield from _listing(bench, root, str(many.diff_id))
    for case, name in (("a big layer", layer.diff_id), ("many small files", many.diff_id)):
        yield from _extraction(bench, f"files: extract {case}", root, str(name))


def _many(bench: Bench) -> Path:
    """A tar of as many small files as a listing has layers."""
    path, dice = bench.scratch / "many.tar", random.Random(1)
    with tarfile.open(path, "w") as tar:
        for number in range(bench.sizes.listed):
            if number % 100 == 0:
                folder = tarfile.TarInfo(f"share/{number // 100}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
            data = dice.randbytes(dice.randrange(3000))
            info = tarfile.TarInfo(f"share/{number // 100}/{number}.txt")
            info.size, info.mtime = len(data), 1_600_000_000
            tar.addfile(info, io.BytesIO(data))
    return path


def _probe(name: str, *arguments: object) -> list[str]:
    return [sys.executable, PROBES, name, *map(str, arguments)]


def _tables(bench: Bench, size: int, compression: str, path: Path | str) -> Iterator[Row]:
    """What the table of contents costs the pass in which it is made."""
    case = f"files: table of {size / MB:.0f} MB, {compression}"
    scan = Contender("scan", lambda _: _probe("pass_over", compression, path))
    runs = bench.interleaved(scan)["scan"]
    alone = bench.row(case, "inflating and sha256: the pass alone, CPU", runs, inside="without")
    thread = bench.row(case, "the pass's own thread, with the table in another, CPU", runs, inside="thread")
    both = bench.row(case, "all threads, with the table, CPU", runs, inside="with")
    both.note = f"{runs[0].said('table'):,.0f} bytes"
    yield thread.compared(alone)
    yield both.compared(alone)
    yield alone


def _seek_points(bench: Bench, layer: MadeLayer) -> Iterator[Row]:
    case = f"files: seek points of {layer.tar_size / MB:.0f} MB, gzip"
    points = Contender("points", lambda _: _probe("seek_points", layer.path, layer.digest))
    scan = Contender("scan", lambda _: _probe("pass_over", GZIP, layer.path))
    runs = bench.interleaved(points, scan)
    row = bench.row(case, "seek points, in a separate pass", runs["points"], inside="seconds")
    size = runs["points"][0].said("size")
    row.note = f"{size:,.0f} bytes, {100 * size / layer.size:.2f} % of the blob"
    alone = bench.row(case, "inflating and sha256, CPU", runs["scan"], inside="without")
    yield row.compared(alone)
    yield alone


def _index(bench: Bench, layer: MadeLayer) -> Iterator[Row]:
    """The first question about a blob: both parts of its index are made."""
    case = f"files: index of {layer.tar_size / MB:.0f} MB, gzip"

    def index(folder: Path) -> list[str]:
        url = cache_url(folder / "cache", sync=False) + "&keep=compressed"
        return _probe("index_layer", url, folder / "cache", layer.path)

    ours = Contender("layer.files()", index)
    peer = Contender(RATARMOUNT, lambda folder: _probe("index_by_ratarmount", layer.path, folder / "index"))
    peers = [] if _without_ratarmount() else [peer]
    runs = bench.interleaved(ours, *peers)
    rows = {
        each.name: bench.row(case, each.name, runs[each.name], inside="seconds") for each in (ours, *peers)
    }
    for name, row in rows.items():
        size, cpu = runs[name][0].said("size"), medians(runs[name], "cpu")
        row.note = f"{cpu:.2f} s of CPU, {size:,.0f} bytes, {100 * size / layer.size:.2f} % of the blob"
    yield rows[ours.name].compared(*(rows[each.name] for each in peers))
    yield from [rows[each.name] for each in peers] or [_absent(case)]


def _whole(bench: Bench, layer: MadeLayer) -> Iterator[Row]:
    """The tar of a layer of which a tier keeps the blob alone: inflated each time."""
    case = f"files: whole tar of {layer.tar_size / MB:.0f} MB out of keep=compressed"
    url = cache_url(bench.scratch / "blobs", sync=False) + "&keep=compressed"
    with layercache.open(url) as cache:
        cache.put(str(layer.path))
    runs = bench.interleaved(Contender("ours", lambda _: _probe("whole_tar", url, layer.digest)))
    alone = bench.row(case, "in one thread, without a seek index", runs["ours"], inside="without")
    yield bench.row(case, "in two, with one", runs["ours"], inside="with").compared(alone)
    yield alone


def _first_byte(bench: Bench, root: Path, layer: MadeLayer, tar: str, path: str) -> Iterator[Row]:
    case = f"files: first byte of one in the middle of {layer.tar_size / MB:.0f} MB"
    ours = Contender("ours", lambda _: _probe("first_byte", cache_url(root, sync=False), layer.diff_id, path))
    python = Contender("python", lambda _: _probe("middle_of_tar", tar, path))
    mounts = _mounts("first_byte_mounted", bench, tar, path)
    runs = bench.interleaved(ours, python, *mounts)
    peers = [bench.row(case, "tarfile, out of the inflated tar", runs["python"], inside="first")]
    if mounts:
        peers.append(bench.row(case, f"{RATARMOUNT}: mounted", runs[RATARMOUNT], inside="first"))
        peers[-1].note = f"mounting took {medians(runs[RATARMOUNT], 'mounted'):.2f} s"
    for inside, what in (
        ("first", "a new layer.open: table and file"),
        ("again", "another in the same layer"),
    ):
        yield bench.row(case, what, runs["ours"], inside=inside).compared(*peers)
    yield from peers
    yield from [] if mounts else [_absent(case)]


def _listing(bench: Bench, root: Path, name: str) -> Iterator[Row]:
    case = f"files: listing {bench.sizes.listed:,}"
    url, tar = cache_url(root, sync=False), _tar_of(root, name)
    ours = Contender("ours", lambda _: _probe("list_layer", url, name))
    python = Contender("python", lambda _: _probe("list_tar", tar))
    listed = Contender("tar -t", lambda _: ["tar", "-tvf", tar], quiet=True)
    mounts = _mounts("list_mounted", bench, tar)
    runs = bench.interleaved(ours, python, listed, *mounts)
    peers = [
        bench.row(case, "tarfile.getmembers", runs["python"], inside="entries"),
        bench.row(case, "tar -tv", runs["tar -t"], ours=False),
    ]
    if mounts:
        peers.append(bench.row(case, f"{RATARMOUNT}: os.walk, lstat", runs[RATARMOUNT], inside="entries"))
    for inside, what in (("entries", "layer.files()"), ("view", "image.files(): the merged view")):
        yield bench.row(case, what, runs["ours"], inside=inside).compared(*peers)
    yield from peers
    yield from [] if mounts else [_absent(case)]


def _extraction(bench: Bench, case: str, root: Path, name: str) -> Iterator[Row]:
    url, tar = cache_url(root, sync=False), _tar_of(root, name)
    python = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter='data')"
    extract = [*program(), "extract", "--cache", url, name]
    ours = Contender("layercache extract", lambda folder: [*extract, str(folder / "out")], quiet=True)
    peers = [
        Contender(TAR, lambda folder: ["tar", "-C", str(folder), "-xf", tar]),
        Contender("tarfile, filter data", lambda folder: [sys.executable, "-c", python, tar, str(folder)]),
    ]
    if not _without_ratarmount():
        peers.append(Contender(f"{RATARMOUNT}: index, mount, copy", lambda folder: _copied(tar, folder)))
    runs = bench.interleaved(ours, *peers)
    rows = [bench.row(case, peer.name, runs[peer.name], syncs="no", ours=False) for peer in peers]
    yield bench.row(case, ours.name, runs[ours.name], syncs="no").compared(*rows)
    yield from rows
    yield from [_absent(case)] if _without_ratarmount() else []


def _mounts(probe: str, bench: Bench, tar: str, *arguments: str) -> list[Contender]:
    """What ratarmount does with a tar, which has its index; nothing where it is not installed."""
    index = bench.scratch / f"{Path(tar).name}.index"
    mounted = Contender(RATARMOUNT, lambda folder: _probe(probe, tar, index, folder / "at", *arguments))
    return [] if _without_ratarmount() else [mounted]


def _without_ratarmount() -> list[str]:
    return missing("ratarmount", "fusermount3")


def _absent(case: str) -> Row:
    return Row(case, RATARMOUNT, note=f"{', '.join(_without_ratarmount())}: not installed here")


def _copied(tar: str, folder: Path) -> list[str]:
    """Mount a tar, copy all of it out of there, and unmount."""
    steps = (
        'mkdir "$2/at" "$2/out"; ratarmount --index-file "$2/index" "$1" "$2/at"; cp -a "$2/at/." "$2/out";'
        ' fusermount3 -u "$2/at"'
    )
    return ["sh", "-ec", steps, "sh", tar, str(folder)]


def _tar_of(root: Path, name: str) -> str:
    return str(root / "blobs" / Path(name.replace(":", "/")))


def missing_module(name: str) -> bool:
    """Whether this Python cannot import it."""
    import importlib.util

    return importlib.util.find_spec(name) is None
