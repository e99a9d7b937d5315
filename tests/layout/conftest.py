"""The program on a cache of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli.calling import Caller

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cli(tmp_path: Path) -> Caller:
    return Caller(f"file://{tmp_path}/cache")
