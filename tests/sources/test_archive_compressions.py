"""Archives that were compressed by hand, and layers in them that are compressed as no registry has them."""

from __future__ import annotations

import bz2
import gc
import json
import lzma
import os
import tempfile
import zlib
from typing import TYPE_CHECKING

import pytest
from servers.archives import file_member, write_legacy_archive, write_modern_archive, write_tar
from servers.images import compressed, make_image, make_layer, noise, sample_layers
from servers.pulling import pulled

import layercache
from layercache import FormatError, LimitError, SourceError
from layercache.oci.digest import Digest
from layercache.sources import inflated
from layercache.sources.docker_archive import ArchiveSource
from layercache.streams.inflate import BZIP2, XZ, InflatedReader
from layercache.streams.limits import Limits
from layercache_backends.memory import MemoryReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layercache.backend import Reader

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "xz": lzma.compress,
    "xz without a check": lambda data: lzma.compress(data, check=lzma.CHECK_NONE),
    "xz, two streams and zeros": lambda data: (
        lzma.compress(data[:700]) + bytes(8) + lzma.compress(data[700:])
    ),
    "bzip2": bz2.compress,
    "bzip2 -1": lambda data: bz2.compress(data, 1),
    "bzip2, two streams": lambda data: bz2.compress(data[:700]) + bz2.compress(data[700:]),
    "gzip": lambda data: compressed(data, "gzip"),
    "zstd": lambda data: compressed(data, "zstd"),
}
IMAGE = make_image(sample_layers(1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("write", [write_legacy_archive, write_modern_archive])
def test_an_archive_is_read_however_it_is_compressed(
    way: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tar", {"team/app:1": IMAGE})
    path.write_bytes(WAYS[way](path.read_bytes()))
    source = ArchiveSource.parse(f"{path}:team/app:1")
    tars = {Digest(layer.diff_id): layer.tar for layer in IMAGE.layers}
    assert pulled(source) == tars | {IMAGE.config_digest: IMAGE.config}
    source.close()


def archive(folder: Path, layers: list[bytes], diff_ids: list[str], *, once: bool = False) -> Path:
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}}).encode()
    names = [f"{0 if once else number}.tar" for number in range(len(diff_ids))]
    item = {"Config": "c.json", "RepoTags": None, "Layers": names}
    members = [file_member(f"{number}.tar", data) for number, data in enumerate(layers)]
    members += [file_member("c.json", config), file_member("manifest.json", json.dumps([item]).encode())]
    return write_tar(folder / "a.tar", members)


@pytest.mark.parametrize("outer", [*WAYS, "none"])
def test_layers_that_are_compressed_by_xz_and_bzip2_are_tars_to_everybody_else(
    outer: str, tmp_path: Path
) -> None:
    layers = [make_layer({"n": noise(3000, seed)}) for seed in range(3)]
    path = archive(
        tmp_path,
        [lzma.compress(layers[0].tar), bz2.compress(layers[1].tar), layers[2].tar],
        [layer.diff_id for layer in layers],
    )
    if outer != "none":
        path.write_bytes(WAYS[outer](path.read_bytes()))
    source = ArchiveSource.parse(str(path))
    found = pulled(source)
    assert [found[Digest(layer.diff_id)] for layer in layers] == [layer.tar for layer in layers]
    assert [each["mediaType"] for each in json.loads(source.document(source.root()))["layers"]] == [
        "application/vnd.docker.image.rootfs.diff.tar"
    ] * 3
    source.close()


def test_a_layer_that_is_named_a_thousand_times_is_inflated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, inflations = make_layer({"n": noise(3000)}), list[str]()

    def counted(raw: Reader, compression: str, limits: Limits, what: str) -> InflatedReader:
        inflations.append(what)
        return InflatedReader(raw, compression, limits, what)

    monkeypatch.setattr(inflated, "InflatedReader", counted)
    source = ArchiveSource.parse(
        str(archive(tmp_path, [lzma.compress(layer.tar)], [layer.diff_id] * 1000, once=True))
    )
    assert pulled(source)[Digest(layer.diff_id)] == layer.tar
    assert len(inflations) == 1
    source.close()


def test_all_that_is_inflated_of_an_archive_is_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [make_layer({"n": noise(3000, seed)}) for seed in range(3)]
    path = archive(
        tmp_path, [lzma.compress(layer.tar) for layer in layers], [layer.diff_id for layer in layers]
    )
    monkeypatch.setattr(inflated, "MAX_INFLATED_SIZE", 2 * len(layers[0].tar) + 100)
    with pytest.raises(LimitError, match=r"2\.tar"):
        ArchiveSource.parse(str(path)).root()


@pytest.mark.parametrize("way", ["xz", "bzip2"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "more behind"])
def test_a_broken_stream_is_called_that_and_nothing_stays_open(way: str, damage: str, tmp_path: Path) -> None:
    path = write_legacy_archive(tmp_path / "a.tar", {"": IMAGE})
    data = bytearray(WAYS[way](path.read_bytes()))
    if damage == "cut":
        del data[-20:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    else:
        data += b"more"
    path.write_bytes(data)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FormatError, match=way):
        ArchiveSource.parse(str(path)).root()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_archive_that_is_opened_again_and_again_is_closed_by_itself(tmp_path: Path) -> None:
    path = write_legacy_archive(tmp_path / "a.tar", {"": IMAGE})
    path.write_bytes(lzma.compress(path.read_bytes()))
    with layercache.open("memory://") as cache:
        image = cache.image(f"docker-archive:{path}")
        gc.collect()  # closes what earlier tests left, which would count below
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            cache.image(f"docker-archive:{path}")
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before
        assert [len(layer.uncompressed().read()) for layer in image.layers] == [
            len(each.tar) for each in IMAGE.layers
        ]


def test_an_xz_stream_that_asks_for_too_much_memory_is_refused() -> None:
    blob = bytearray(lzma.compress(b"x", preset=0))
    assert InflatedReader(MemoryReader(bytes(blob)), XZ, Limits(), "it").read() == b"x"
    blob[16] = 37  # the dictionary: 3 << 29 bytes (The .xz File Format, 5.3.1), and the header's checksum
    blob[20:24] = zlib.crc32(blob[12:20]).to_bytes(4, "little")
    with pytest.raises(FormatError, match="xz"):
        InflatedReader(MemoryReader(bytes(blob)), XZ, Limits(), "it").read()


def test_a_bzip2_of_nothing_is_nothing() -> None:
    blob = bz2.compress(b"")
    assert inflated.sniff_archive(blob) == BZIP2
    assert InflatedReader(MemoryReader(blob), BZIP2, Limits(), "it").read() == b""


def test_text_that_begins_as_bzip2_does_is_none() -> None:
    assert inflated.sniff_archive(b"BZh9, said the bee.") is None


def test_where_there_is_no_room_for_the_inside_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_legacy_archive(tmp_path / "a.tar", {"": IMAGE})
    path.write_bytes(lzma.compress(path.read_bytes()))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SourceError, match="folder for temporary files") as caught:
        ArchiveSource.parse(str(path)).root()
    assert "TMPDIR" in caught.value.hint
