"""Exports an image to a file for ``docker load``: the config under its own hash, and the layers as tars.

moby's image-spec, v1.2: manifest.json. The image's ID is the hash of its config, which is kept as it is.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import msgspec

from layercache.errors import FormatError, NotALayerError, NotFoundError
from layercache.export.files import appearing, copy_checked, until_right
from layercache.oci.descriptor import Manifest, decode
from layercache.oci.forms import UNCOMPRESSED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from layercache.export.contents import Contents, Document
    from layercache.layer import Layer
    from layercache.oci.digest import DiffID


class ArchiveTarget:
    """A file, which is replaced. The same image gives the same bytes."""

    def __init__(self, path: str, tag: str) -> None:
        self._path = path
        self._tag = tag

    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write the archive; return how many files it has, and how many bytes they have."""
        manifest = decode(contents.root.data, Manifest, f"the manifest {contents.root.descriptor.digest}")
        config = contents.configs[manifest.config.digest]
        image = contents.images.get(manifest.config.digest)
        if image is None:
            raise NotALayerError(
                f"{contents.root.descriptor.digest} is not an image: "
                f"its config is {config.descriptor.media_type}",
                hint="export artefacts to oci: or to a registry",
            )
        diff_ids = image.diff_ids
        if len(diff_ids) != len(manifest.layers):
            raise FormatError(f"the config names {len(diff_ids)} layers, the manifest {len(manifest.layers)}")
        layers: dict[DiffID, Layer] = {}
        for descriptor, diff_id in zip(manifest.layers, diff_ids, strict=True):
            if descriptor.digest in contents.foreign:
                raise NotFoundError(
                    f"the layer {descriptor.digest} is foreign, so it is never cached",
                    hint="export to oci: or to a registry, which accept the image without it",
                )
            layers.setdefault(diff_id, contents.layers[descriptor.digest])
        with appearing(self._path) as file:
            return self._write(file, config, diff_ids, layers, seen)

    def _write(
        self,
        file: BinaryIO,
        config: Document,
        diff_ids: Sequence[DiffID],
        layers: dict[DiffID, Layer],
        seen: Callable[[int], object],
    ) -> tuple[int, int]:
        sizes = [_append_layer(file, f"{name.hex}.tar", layer, name, seen) for name, layer in layers.items()]
        config_name = f"{config.descriptor.digest.hex}.json"
        names = [f"{name.hex}.tar" for name in diff_ids]
        item = {"Config": config_name, "RepoTags": [self._tag] if self._tag else None, "Layers": names}
        for name, data in ((config_name, config.data), ("manifest.json", msgspec.json.encode([item]))):
            _append(file, name, data)
            sizes.append(len(data))
        file.write(bytes(2 * tarfile.BLOCKSIZE))
        return len(sizes), sum(sizes)


def _append_layer(
    file: BinaryIO, name: str, layer: Layer, diff_id: DiffID, seen: Callable[[int], object]
) -> int:
    """Write a layer. Its size is known only at the end, so its header is written last."""
    start = file.tell()

    def put() -> int:
        file.seek(start)
        file.truncate()
        file.write(bytes(tarfile.BLOCKSIZE))
        with layer.uncompressed() as stream:
            return copy_checked(stream, diff_id, None, file.write, lambda _: None)

    size = until_right(layer, UNCOMPRESSED, put)
    seen(layer.size or 0)
    _pad(file, size)
    end = file.tell()
    file.seek(start)
    file.write(_header(name, size))
    file.seek(end)
    return size


def _append(file: BinaryIO, name: str, data: bytes) -> None:
    file.write(_header(name, len(data)))
    file.write(data)
    _pad(file, len(data))


def _pad(file: BinaryIO, size: int) -> None:
    file.write(bytes(-size % tarfile.BLOCKSIZE))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)
