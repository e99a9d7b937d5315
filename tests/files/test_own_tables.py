"""Layers of eStargz and zstd:chunked are read by their own tables, without a pass over them."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from fixtures.stores import content, open_cache
from fixtures.zstd import zstd
from index.own_layers import estargz, zstd_chunked
from index.tars import make, member
from servers.images import Image, Layer, make_image, noise, write_layout

from layercache.files import own_tar
from layercache.index.chunks import OwnTable
from layercache.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from index.own_layers import Blob

    from layercache.backend import Reader
    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.index.chunks import Chunk

FILES = {f"lib/{number}": noise(300_000, number) for number in range(6)} | {"etc/os-release": b"ID=test\n"}
FILES |= {"empty": b"", "zeros": bytes(5000), "mixed": noise(900, 9) + bytes(4000) + noise(50, 8)}
TAR = make(
    [(member(name), data) for name, data in FILES.items()]
    + [(member("link", tarfile.SYMTYPE, linkname="empty"), b"")]
)
WRITERS: dict[str, Callable[..., Blob]] = {"estargz": estargz, "zstd:chunked": zstd_chunked}


def image_of(blob: Blob, annotations: dict[str, str]) -> Image:
    is_zstd = blob.data[:4] == b"\x28\xb5\x2f\xfd"
    inflated = zstd.ZstdFile(io.BytesIO(blob.data)).read() if is_zstd else gzip.decompress(blob.data)
    made = make_image([Layer(inflated, blob.data, OCI_LAYER_ZSTD if is_zstd else OCI_LAYER_GZIP)])
    manifest = json.loads(made.manifest)
    manifest["layers"][0]["annotations"] = annotations
    return dataclasses.replace(made, manifest=json.dumps(manifest).encode())


def received(cache: Cache) -> int:
    return sum(place.bytes for place in cache.counters.places if place.kind != "tier")


@pytest.mark.parametrize("writer", WRITERS)
def test_files_come_out_of_their_chunks_and_nothing_else_travels(tmp_path: Path, writer: str) -> None:
    blob = WRITERS[writer](TAR, 100_000)
    name = f"oci:{write_layout(tmp_path, {'one': image_of(blob, blob.annotations)})}:one"
    with open_cache() as cache:
        image = cache.image(name)
        found = [file.entry for file in image.files() if file.entry.type == "file"]
        assert {entry.path: entry.size for entry in found} == {
            path: len(data) for path, data in FILES.items()
        }
        with image.open("etc/os-release") as file:
            assert file.read() == b"ID=test\n"
        table = received(cache)
        assert table < len(blob.data) // 4
        for path, data in FILES.items():
            with image.open(path) as file:
                assert file.read() == data
        with image.open("lib/3") as file:
            file.seek(150_000)
            assert file.read(10) == FILES["lib/3"][150_000:150_010]
        assert not cache.counters.inflated
        assert keys.derived(own_tar.KIND, image.layers[0].digest) in content(cache.tiers[0])
        before = received(cache)
        with cache.image(name).open("empty") as file:
            assert file.read() == b""
        assert received(cache) == before


@pytest.mark.parametrize("writer", WRITERS)
def test_all_of_a_layer_is_extracted_by_its_own_table(tmp_path: Path, writer: str) -> None:
    blob = WRITERS[writer](TAR, 100_000)
    name = f"oci:{write_layout(tmp_path / 'layout', {'one': image_of(blob, blob.annotations)})}:one"
    with open_cache() as cache:
        cache.image(name).extract(str(tmp_path / "out"))
    for path, data in FILES.items():
        assert (tmp_path / "out" / path).read_bytes() == data


def test_a_table_that_is_not_that_of_the_manifest_is_reported_and_the_tar_is_read(tmp_path: Path) -> None:
    blob = zstd_chunked(TAR, 100_000)
    wrong = {key: value.replace(value[-4:], "0000") for key, value in blob.annotations.items()}
    assert wrong != blob.annotations
    name = f"oci:{write_layout(tmp_path, {'one': image_of(blob, wrong)})}:one"
    events: list[Event] = []
    with open_cache() as cache, cache.watch(events.append):
        image = cache.image(name)
        for path in ("etc/os-release", "mixed", "lib/3"):
            with image.open(path) as file:
                assert file.read() == FILES[path]
        assert cache.counters.inflated == 1
    assert [event.where for event in events if event.kind == "failed"] == ["its image"]


def test_files_that_are_in_one_member_are_inflated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {f"small/{number}": b"%d" % number for number in range(50)}
    tar = make([(member(name), data) for name, data in {**small, "big": noise(1 << 20)}.items()])
    blob = estargz(tar, 2 << 20, together=True)
    name = f"oci:{write_layout(tmp_path / 'layout', {'one': image_of(blob, blob.annotations)})}:one"
    inflated: list[int] = []
    inflate = OwnTable.inflate

    def counted(self: OwnTable, chunks: Sequence[Chunk], blob: Reader) -> list[bytes]:
        inflated.append(chunks[0].start)
        return inflate(self, chunks, blob)

    monkeypatch.setattr(OwnTable, "inflate", counted)
    with open_cache() as cache:
        cache.image(name).extract(tmp_path / "out", ["small"])
    assert {path: (tmp_path / "out" / path).read_bytes() for path in small} == small
    assert len(inflated) == len(set(inflated)) == 1


def test_files_may_be_in_another_order_in_the_blob_than_in_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_tar, "TOGETHER", own_tar.FIRST)
    blob = estargz(TAR, 1 << 20, change=lambda entries: entries.reverse())
    name = f"oci:{write_layout(tmp_path / 'layout', {'one': image_of(blob, blob.annotations)})}:one"
    with open_cache() as cache:
        cache.image(name).extract(tmp_path / "out")
        assert not cache.counters.inflated
    assert {path: (tmp_path / "out" / path).read_bytes() for path in FILES} == FILES


def test_files_of_more_bytes_than_can_be_numbered_are_refused_and_the_tar_is_read(tmp_path: Path) -> None:
    huge = {"type": "reg", "size": 1 << 62, "chunkType": "zeros"}
    more = [{**huge, "name": f"huge/{each}", "offset": each} for each in (1, 2, 3)]
    blob = zstd_chunked(TAR, change=lambda entries: entries.extend(more))
    name = f"oci:{write_layout(tmp_path, {'one': image_of(blob, blob.annotations)})}:one"
    events: list[Event] = []
    with open_cache() as cache, cache.watch(events.append):
        assert cache.image(name).open("etc/os-release").read() == b"ID=test\n"
    assert [event.note for event in events if event.kind == "failed"] == [
        f"its own table of files is not used: the files of a layer have more than {(1 << 63) - 1} bytes"
    ]
