"""A cache in memory, for images of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import layercache

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cache() -> Iterator[layercache.Cache]:
    with layercache.open("memory://") as opened:
        yield opened
