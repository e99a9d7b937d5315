from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from fixtures.zstd import zstd
from servers.programs import skopeo_copy

from layercache.demo.image import BuiltImage, build_image
from layercache.oci.descriptor import OCI_LAYER_ZSTD, ImageConfig, Manifest, decode
from layercache.oci.digest import DiffID, Digest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BuiltImage]:
    folder = tmp_path_factory.mktemp("layout")
    return folder, build_image(str(folder), "v1")


def blob(folder: Path, digest: Digest) -> bytes:
    return (folder / "blobs" / "sha256" / digest.hex).read_bytes()


def tar_of(folder: Path, digest: Digest, media_type: str) -> bytes:
    data = blob(folder, digest)
    return zstd.decompress(data) if media_type == OCI_LAYER_ZSTD else gzip.decompress(data)


def test_the_folder_is_an_oci_layout_with_one_tag(built: tuple[Path, BuiltImage]) -> None:
    folder, image = built
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (listed,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    assert listed["digest"] == image.manifest.digest
    assert listed["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
    assert sorted(os.listdir(folder)) == ["blobs", "index.json", "oci-layout"]


def test_every_blob_is_named_by_its_hash_and_listed_with_its_size(built: tuple[Path, BuiltImage]) -> None:
    folder, image = built
    manifest = decode(blob(folder, image.manifest.digest), Manifest, "manifest")
    named = {item.digest: item.size for item in (image.manifest, manifest.config, *manifest.layers)}
    found = {Digest.of(data): len(data) for data in map(_read, (folder / "blobs" / "sha256").iterdir())}
    assert found == named


def test_the_config_names_the_tars_that_are_in_the_blobs(built: tuple[Path, BuiltImage]) -> None:
    folder, image = built
    manifest = decode(blob(folder, image.manifest.digest), Manifest, "manifest")
    config = decode(blob(folder, manifest.config.digest), ImageConfig, "config")
    assert [layer.descriptor for layer in image.layers] == manifest.layers
    assert [layer.diff_id for layer in image.layers] == config.diff_ids
    assert config.rootfs is not None
    assert b'"type":"layers"' in blob(folder, manifest.config.digest), "as image-spec config.md wants it"
    for layer in image.layers:
        tar = tar_of(folder, layer.descriptor.digest, layer.descriptor.media_type)
        assert DiffID.of(tar) == layer.diff_id
        assert len(tar) == layer.size


def test_there_are_gzip_layers_and_a_zstd_layer_of_some_megabytes(built: tuple[Path, BuiltImage]) -> None:
    _, image = built
    kinds = [layer.descriptor.media_type.rpartition("+")[2] for layer in image.layers]
    assert kinds == ["gzip", "gzip", "gzip", "zstd"]
    assert sum(layer.size for layer in image.layers) > 10_000_000


def test_the_tars_hold_files_of_this_python_and_nothing_of_this_machine(
    built: tuple[Path, BuiltImage],
) -> None:
    folder, image = built
    names: list[str] = []
    for layer in image.layers:
        data = tar_of(folder, layer.descriptor.digest, layer.descriptor.media_type)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, 0, "", "")
                names.append(entry.name)
    library = f"usr/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    assert {"usr/bin/python3", f"{library}/os.py", f"{library}/json/decoder.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or "site-packages" in name]


def test_the_same_python_gives_the_same_image(built: tuple[Path, BuiltImage], tmp_path: Path) -> None:
    _, image = built
    assert build_image(str(tmp_path), "v1") == image


def test_skopeo_takes_the_image_for_valid(built: tuple[Path, BuiltImage], tmp_path: Path) -> None:
    folder, image = built
    skopeo_copy(f"oci:{folder}:v1", f"dir:{tmp_path}")
    assert Digest.of((tmp_path / "manifest.json").read_bytes()) == image.manifest.digest


def _read(path: Path) -> bytes:
    return path.read_bytes()
