"""The fixture that the tests of the local backend share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.local_backend import a_backend

if TYPE_CHECKING:
    from pathlib import Path

    from layercache_backends.local import LocalBackend


@pytest.fixture(params=["unnamed", "named"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> LocalBackend:
    """Publishing by link and by rename."""
    backend = a_backend(tmp_path / "cache")
    if request.param == "named":
        backend.unnamed_files = False
    return backend
