"""Fixtures of the mirror's tests: an upstream with an image, and a mirror of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry


@pytest.fixture
def upstream(registry: Registry, sample: Sample) -> Registry:
    """A registry with ``team/app:1`` (three layers: gzip, zstd, plain) and ``team/app:index``."""
    registry.push(f"oci:{sample.layout}:image", "team/app:1")
    registry.push(f"oci:{sample.layout}:index", "team/app:index")
    return registry


@pytest.fixture
def mirror(tmp_path: Path, upstream: Registry) -> Iterator[Mirror]:
    """A mirror with an empty cache, whose default upstream is ``upstream``."""
    with Mirror(tmp_path / "mirror", config=f'default_upstream = "{upstream.host}"') as running:
        yield running
