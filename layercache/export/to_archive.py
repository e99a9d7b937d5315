"""Exports an image to an archive: for ``docker load``, or an OCI layout as a tar.

moby's image-spec, v1.2: manifest.json. The image's ID is the hash of its config, which is kept as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from layercache.errors import FormatError, NotALayerError, NotFoundError
from layercache.export.layout_index import LAYOUT_MARKER, index_of_one
from layercache.export.tar_writer import Progress, TarWriter
from layercache.oci.descriptor import INDEXES, Manifest, decode
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.streams.named_file import writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.export.contents import Contents
    from layercache.export.layout_index import EntryNames
    from layercache.layer import Layer
    from layercache.oci.digest import DiffID, Digest
    from layercache.streams.named_file import NamedFile

MANIFEST = "manifest.json"


class ArchiveTarget:
    """An archive for ``docker load``, in a file or a pipe. The same image gives the same bytes."""

    one_platform: ClassVar[bool] = True

    def __init__(self, path: str, tag: str) -> None:
        self._path = path
        self._tag = tag

    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write the archive; return how many files it has, and how many bytes they have."""
        archive = DockerArchive(contents, self._tag)
        with writing(self._path) as file:
            found = archive.write(file, seen)
            file.sync()
        return found


class OciArchiveTarget:
    """An OCI layout as a tar, with one image, in a file or a pipe."""

    one_platform: ClassVar[bool] = False

    def __init__(self, path: str, names: EntryNames) -> None:
        self._path = path
        self._names = names

    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write the archive; return how many files it has, and how many bytes they have."""
        with writing(self._path) as file:
            found = OciArchive(contents, self._names).write(file, seen)
            file.sync()
        return found


class OciArchive:
    """An OCI layout with one image. ``docker load`` reads it as well, by its manifest.json."""

    def __init__(self, contents: Contents, names: EntryNames) -> None:
        self._contents = contents
        self._names = names

    def write(self, file: NamedFile, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write it into a file or a pipe; return how many files it has, and how many bytes they have."""
        contents, tar = self._contents, TarWriter(file)
        tar.add("oci-layout", LAYOUT_MARKER)
        tar.add("index.json", index_of_one(contents.root.descriptor, self._names))
        for document in (*contents.manifests, *contents.configs.values()):
            tar.add(_blob(document.descriptor.digest), document.data)
        for digest, layer in contents.layers.items():
            size = contents.sizes[digest]
            part = Progress(layer, size, seen)
            if digest in contents.configs:  # of some artefacts both are the empty object
                part.end()
            else:
                tar.add_layer(_blob(digest), COMPRESSED, digest, size, part)
        if (item := self._item()) is not None:
            tar.add(MANIFEST, msgspec.json.encode([item]))
        tar.end()
        return tar.count, tar.size

    def _item(self) -> dict[str, Any] | None:
        """What manifest.json has of the image; None for an index, an artefact, and missing layers."""
        contents = self._contents
        if contents.root.descriptor.media_type in INDEXES or not contents.images or contents.foreign:
            return None
        manifest = decode(contents.root.data, Manifest, "the manifest")
        layers = [_blob(layer.digest) for layer in manifest.layers]
        return _item(_blob(manifest.config.digest), self._names.full, layers)


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _item(config: str, tag: str, layers: list[str]) -> dict[str, Any]:
    return {"Config": config, "RepoTags": [tag] if tag else None, "Layers": layers}


class DockerArchive:
    """What ``docker load`` reads: the config under its own hash, and the layers as tars.

    Raises `NotALayerError` for an artefact, `NotFoundError` for an image with foreign layers, `FormatError`.
    """

    def __init__(self, contents: Contents, tag: str) -> None:
        manifest = decode(contents.root.data, Manifest, f"the manifest {contents.root.descriptor.digest}")
        config = contents.configs[manifest.config.digest]
        image = contents.images.get(manifest.config.digest)
        if image is None:
            raise NotALayerError(
                f"{contents.root.descriptor.digest} is not an image: "
                f"its config is {config.descriptor.media_type}",
                hint="export artefacts to oci:, oci-archive: or docker://",
            )
        diff_ids = image.diff_ids
        if len(diff_ids) != len(manifest.layers):
            raise FormatError(f"the config names {len(diff_ids)} layers, the manifest {len(manifest.layers)}")
        layers: dict[DiffID, Layer] = {}
        for descriptor, diff_id in zip(manifest.layers, diff_ids, strict=True):
            if descriptor.digest in contents.foreign:
                raise NotFoundError(
                    f"the layer {descriptor.digest} is foreign, so it is never cached",
                    hint="export to oci:, oci-archive: or docker://, which accept the image without it",
                )
            layers.setdefault(diff_id, contents.layers[descriptor.digest])
        self._config = config
        self._diff_ids = diff_ids
        self._layers = layers
        self._tag = tag

    def write(self, file: NamedFile, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write it into a file or a pipe; return how many files it has, and how many bytes they have."""
        tar = TarWriter(file)
        for diff_id, layer in self._layers.items():
            part = Progress(layer, layer.size or 0, seen)
            tar.add_layer(f"{diff_id.hex}.tar", UNCOMPRESSED, diff_id, None, part)
        config = f"{self._config.descriptor.digest.hex}.json"
        names = [f"{diff_id.hex}.tar" for diff_id in self._diff_ids]
        tar.add(config, self._config.data)
        tar.add(MANIFEST, msgspec.json.encode([_item(config, self._tag, names)]))
        tar.end()
        return tar.count, tar.size
