"""What the tests of registries share."""

from __future__ import annotations

import pytest
from registry.asking import Waits


@pytest.fixture
def waits() -> Waits:
    return Waits()
