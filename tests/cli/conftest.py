"""Layers to put into a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.images import Layer, make_layer, noise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def layer() -> Layer:
    return make_layer({"etc/name": b"a layer", "noise": noise(3000)})


@pytest.fixture
def file(tmp_path: Path, layer: Layer) -> Path:
    """The layer as a file, gzip."""
    path = tmp_path / "layer.tar.gz"
    path.write_bytes(layer.blob)
    return path
