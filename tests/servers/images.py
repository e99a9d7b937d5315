"""Real images made of small generated files: layers, manifests, indexes, OCI layouts on disk.

Everything is deterministic, so digests are the same in every run.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixtures.zstd import zstd

from layercache.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from layercache.oci.digest import DiffID, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OCI = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "none": OCI_LAYER}
_DOCKER = {"gzip": DOCKER_LAYER_GZIP, "none": DOCKER_LAYER}


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of plain files, owned by root, of one fixed time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def compressed(data: bytes, compression: str) -> bytes:
    """gzip, zstd or none."""
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    return zstd.compress(data) if compression == "zstd" else data


@dataclass(frozen=True)
class Layer:
    """A layer in both forms, under both of its names."""

    tar: bytes
    blob: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        return Digest.of(self.blob)

    @property
    def diff_id(self) -> DiffID:
        return DiffID.of(self.tar)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.blob))


def make_layer(files: Mapping[str, bytes], compression: str = "gzip", *, docker: bool = False) -> Layer:
    tar = tar_of(files)
    return Layer(tar, compressed(tar, compression), (_DOCKER if docker else _OCI)[compression])


@dataclass(frozen=True)
class Image:
    """An image: its manifest and its blobs (config and layers) by digest."""

    layers: tuple[Layer, ...]
    platform: Platform
    config: bytes
    manifest: bytes
    media_type: str

    @property
    def descriptor(self) -> Descriptor:
        return _described(self.manifest, self.media_type)

    @property
    def config_digest(self) -> Digest:
        """The digest of the config."""
        return Digest.of(self.config)

    @property
    def blobs(self) -> dict[Digest, bytes]:
        parts = [self.config, *(layer.blob for layer in self.layers)]
        return {Digest.of(part): part for part in parts}

    @property
    def documents(self) -> dict[Digest, tuple[str, bytes]]:
        """Every manifest and index by its digest: media type and bytes."""
        return {self.descriptor.digest: (self.media_type, self.manifest)}


@dataclass(frozen=True)
class ImageIndex:
    """Images for several platforms."""

    images: tuple[Image, ...]
    manifest: bytes
    media_type: str

    @property
    def descriptor(self) -> Descriptor:
        return _described(self.manifest, self.media_type)

    @property
    def blobs(self) -> dict[Digest, bytes]:
        return {digest: blob for image in self.images for digest, blob in image.blobs.items()}

    @property
    def documents(self) -> dict[Digest, tuple[str, bytes]]:
        return {
            self.descriptor.digest: (self.media_type, self.manifest),
            **{digest: found for image in self.images for digest, found in image.documents.items()},
        }


def make_image(
    layers: Sequence[Layer], platform: str = "linux/amd64", *, docker: bool = False, **config: Any
) -> Image:
    """An image of these layers; ``config`` are more fields of its configuration."""
    system, architecture, *variant = platform.split("/")
    where = {"os": system, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
    rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    history = [{"created_by": f"layer {number}"} for number in range(len(layers))]
    document = _json({**where, "config": {}, "rootfs": rootfs, "history": history, **config})
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _entry(_described(document, DOCKER_CONFIG if docker else OCI_CONFIG)),
        "layers": [_entry(layer.descriptor) for layer in layers],
    }
    return Image(tuple(layers), Platform(**where), document, _json(manifest), media_type)


def make_index(
    images: Sequence[Image], *, docker: bool = False, extra: Sequence[Mapping[str, Any]] = ()
) -> ImageIndex:
    """An index of images; ``extra`` are entries that stand in it beside them."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    entries = [
        {
            **_entry(image.descriptor),
            "platform": {
                "os": image.platform.os,
                "architecture": image.platform.architecture,
                **({"variant": image.platform.variant} if image.platform.variant else {}),
            },
        }
        for image in images
    ]
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": [*entries, *extra]}
    return ImageIndex(tuple(images), _json(document), media_type)


def sample_layers(seed: int = 0, *, docker: bool = False, size: int = 4000) -> list[Layer]:
    """Three layers: gzip, zstd (Docker knows none: gzip) and plain; one of them inflates well."""
    return [
        make_layer({"etc/name": f"sample {seed}".encode(), "noise": noise(size, seed)}, docker=docker),
        make_layer(
            {"zeros": bytes(20 * size), "seed": bytes([seed])}, "gzip" if docker else "zstd", docker=docker
        ),
        make_layer({"plain": noise(size // 2, seed + 1)}, "none", docker=docker),
    ]


def write_layout(folder: Path, images: Mapping[str, Image | ImageIndex]) -> Path:
    """An OCI layout in a folder, its entries named by reference name ("" for none); returns the folder."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, image in images.items():
        for digest, blob in image.blobs.items():
            (blobs / digest.hex).write_bytes(blob)
        for digest, (_, document) in image.documents.items():
            (blobs / digest.hex).write_bytes(document)
        annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        entries.append({**_entry(image.descriptor), **annotations})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": entries}))
    return folder


def write_dir(folder: Path, image: Image) -> Path:
    """An image as skopeo's ``dir:`` has it, which may be a Docker one; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(image.manifest)
    for digest, blob in image.blobs.items():
        (folder / digest.hex).write_bytes(blob)
    return folder


@dataclass
class Sample:
    """The images that most tests need, made once a session, and a layout that holds them."""

    image: Image = field(default_factory=lambda: make_image(sample_layers(1)))
    docker: Image = field(default_factory=lambda: make_image(sample_layers(2, docker=True), docker=True))
    index: ImageIndex = field(
        default_factory=lambda: make_index(
            [make_image(sample_layers(3)), make_image(sample_layers(4), "linux/arm64")]
        )
    )
    layout: Path = Path()


def _entry(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _described(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
