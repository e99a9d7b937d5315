"""What is right: a few images and every byte of them, so that any reader can judge what it was given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixtures.zstd import zstd
from servers.images import Image, Layer, make_image, make_layer, noise, write_layout

from layercache.oci.digest import DiffID, Digest, Hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

IMAGES = 5
BIG = 12 << 20
"""Bytes of the largest layer: one that several threads drive."""


@dataclass(frozen=True)
class Known:
    """A layer as it should be: the files that hold its blob and its tar."""

    digest: Digest
    diff_id: DiffID
    blob: Path
    tar: Path

    def name(self, form: str) -> Hash:
        return self.digest if form == "compressed" else self.diff_id

    def file(self, form: str) -> Path:
        return self.blob if form == "compressed" else self.tar

    def is_recompressed(self, blob: bytes) -> bool:
        """Whether this is another blob of a plain tar, as the buckets have of it.

        Once the records that say so are spoiled, nothing tells that the tar's name is a digest: then it is a
        diff ID, whose compressed form is any blob that inflates to it.
        """
        try:
            return str(self.digest) == self.diff_id and zstd.decompress(blob) == self.tar.read_bytes()
        except zstd.ZstdError:
            return False


@dataclass(frozen=True)
class Truth:
    """Layers, and images with the layers and documents that they have."""

    layers: tuple[Known, ...]
    images: tuple[str, ...]
    blobs: Path
    """A folder with every blob and document under its hex digest."""

    @classmethod
    def read(cls, folder: Path) -> Truth:
        known = json.loads((folder / "truth.json").read_text())
        blobs, tars = folder / "layout" / "blobs" / "sha256", folder / "tars"
        layers = [
            Known(Digest(digest), DiffID(diff_id), blobs / Hash(digest).hex, tars / Hash(diff_id).hex)
            for digest, diff_id in known["layers"]
        ]
        return cls(tuple(layers), tuple(known["images"]), blobs)


def make(folder: Path, seed: int) -> Path:
    """Write the images as an OCI layout, and what `Truth.read` needs; returns the layout."""
    images = {f"app{number}": image for number, image in enumerate(_images(seed))}
    layout = write_layout(folder / "layout", images)
    tars = folder / "tars"
    tars.mkdir()
    layers = {layer.digest: layer for image in images.values() for layer in image.layers}
    for layer in layers.values():
        (tars / layer.diff_id.hex).write_bytes(layer.tar)
    named = [[layer.digest, layer.diff_id] for layer in layers.values()]
    (folder / "truth.json").write_text(json.dumps({"layers": named, "images": list(images)}))
    return layout


def _images(seed: int) -> Sequence[Image]:
    """Images that share their base; layers of all three compressions, from some bytes to some MiB."""
    base = [_layer(seed, 3 << 20, "gzip"), _layer(seed + 1, 400_000, "zstd")]
    images = []
    for number in range(IMAGES):
        first = seed + 100 * (number + 1)
        own = [
            _layer(first, 20_000, "gzip"),
            _layer(first + 1, 700_000, ("zstd", "none", "gzip")[number % 3]),
            _layer(first + 2, 200, "none"),
        ]
        big = [_layer(first + 3, BIG, "gzip")] if number == 0 else []
        images.append(make_image([*base, *own, *big]))
    return images


def _layer(seed: int, size: int, compression: str) -> Layer:
    """Half of it noise, half of it zeros: both forms have something to get wrong."""
    return make_layer({"noise": noise(size // 2, seed), "zeros": bytes(size // 2)}, compression)
