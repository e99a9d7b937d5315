"""Archives as ``docker save`` writes them, in its old form and in the one of Docker 25 and newer."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from servers.images import Image


def file_member(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def link_member(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def write_tar(path: Path, members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar of these members, in this order; returns its path."""
    with tarfile.open(path, "w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def write_legacy_archive(path: Path, images: Mapping[str, Image]) -> Path:
    """Docker before 25: a folder for each layer of each image, a layer that came before is a symlink."""
    members, items, seen = [], [], dict[str, str]()
    for number, (tag, image) in enumerate(images.items()):
        config = f"{image.config_digest.hex}.json"
        members.append(file_member(config, image.config))
        names = []
        for place, layer in enumerate(image.layers):
            folder = f"{number:02}{place:02}".ljust(64, "0")
            name = f"{folder}/layer.tar"
            if first := seen.get(layer.diff_id):
                members.append(link_member(name, f"../{first}"))
            else:
                members.append(file_member(name, layer.tar))
                seen[layer.diff_id] = name
            members.append(file_member(f"{folder}/VERSION", b"1.0"))
            names.append(name)
        items.append(_item(config, tag, names))
    members.append(file_member("manifest.json", json.dumps(items).encode()))
    return write_tar(path, members)


def write_modern_archive(path: Path, images: Mapping[str, Image], *, compressed: bool = False) -> Path:
    """Docker 25 and newer: an OCI layout with a manifest.json; ``compressed`` as containerd does."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    items, entries = [], []
    for tag, image in images.items():
        blobs = [layer.blob if compressed else layer.tar for layer in image.layers]
        hashes = [layer.digest if compressed else layer.diff_id for layer in image.layers]
        names = [f"blobs/sha256/{each.hex}" for each in hashes]
        config = f"blobs/sha256/{image.config_digest.hex}"
        for name, data in [*zip(names, blobs, strict=True), (config, image.config)]:
            members[name] = file_member(name, data)
        items.append(_item(config, tag, names))
        entries.append({"mediaType": image.media_type, "digest": image.descriptor.digest, "size": 1})
    for name, document in (
        ("index.json", {"schemaVersion": 2, "manifests": entries}),
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ("manifest.json", items),
    ):
        members[name] = file_member(name, json.dumps(document).encode())
    return write_tar(path, list(members.values()))


def _item(config: str, tag: str, layers: list[str]) -> dict[str, Any]:
    return {"Config": config, "RepoTags": [tag] if tag else None, "Layers": layers}
