"""What all tests of the public API need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import layercache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache import Cache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with layercache.open(tmp_path / "cache") as cache:
        yield cache
