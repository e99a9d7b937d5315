"""A cache on disk, the program that uses it, and layers to put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli.calling import Caller
from servers.images import Layer, Sample, make_layer, noise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cli(tmp_path: Path) -> Caller:
    return Caller(f"file://{tmp_path}/cache")


@pytest.fixture(scope="session")
def layer() -> Layer:
    return make_layer({"etc/name": b"a layer", "noise": noise(3000)})


@pytest.fixture
def file(tmp_path: Path, layer: Layer) -> Path:
    """The layer as a file, gzip."""
    path = tmp_path / "layer.tar.gz"
    path.write_bytes(layer.blob)
    return path


@pytest.fixture
def layout(sample: Sample) -> str:
    """An image of three layers, as `pull` takes it: gzip, zstd, plain."""
    return f"oci:{sample.layout}:image"
