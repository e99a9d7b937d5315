"""Caches on disk and their index.json, as the tests of the layout read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from servers.images import Image, ImageIndex, write_layout

import layercache
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.layout.index_writer import write_index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REF_NAME = "org.opencontainers.image.ref.name"
DIFF_ID = "dev.ggcr.cache.diffid"
DIGEST = "dev.ggcr.cache.digest"


def index_of(folder: Path) -> list[dict[str, Any]]:
    """The entries of a layout's index.json; fails unless the folder is a layout."""
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    document = json.loads((folder / "index.json").read_bytes())
    assert document["schemaVersion"] == 2
    entries: list[dict[str, Any]] = document["manifests"]
    return entries


def view(cache: layercache.Cache, *, layers: bool | None = None) -> tuple[int, int]:
    """Write the nearest tier's index.json; how many images and other entries it has."""
    tier = cache.tiers[0]
    assert isinstance(tier, BackendTier)
    return write_index(tier, layers=layers)


def named(folder: Path) -> dict[str, str]:
    """The images that index.json lists: digest by reference name."""
    return {
        entry["annotations"][REF_NAME]: entry["digest"]
        for entry in index_of(folder)
        if REF_NAME in entry.get("annotations", {})
    }


def layers(folder: Path) -> dict[str, dict[str, Any]]:
    """The other entries, by digest."""
    return {
        entry["digest"]: entry for entry in index_of(folder) if REF_NAME not in entry.get("annotations", {})
    }


def adopted(folder: Path, images: Mapping[str, Image | ImageIndex]) -> Path:
    """A cache that holds these images under full references, in compressed form."""
    write_layout(folder, images)
    with layercache.open(folder) as cache:
        cache.adopt()
    return folder


def add_entry(folder: Path, entry: Mapping[str, Any]) -> None:
    """What another tool does to index.json."""
    path = folder / "index.json"
    document = json.loads(path.read_bytes())
    document["manifests"].append(entry)
    path.write_text(json.dumps(document))
