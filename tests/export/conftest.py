"""A cache to export from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import layercache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache.cache import Cache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with layercache.open(f"file://{tmp_path}/cache", offline=True) as opened:
        yield opened
