"""What all tests of the file systems need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from layercache.backend import PerProcess
from layercache.filesystem import opened
from layercache.filesystem.filesystems import ImageFileSystem, LayerFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There is no registry; and no test gets a file system, and so a cache, that another one has opened."""
    monkeypatch.setenv("LAYERCACHE_OFFLINE", "1")
    monkeypatch.setattr(opened, "_caches", PerProcess(opened._OpenCaches))  # they last as long as their users
    _forget()
    yield
    _forget()


def _forget() -> None:
    ImageFileSystem.clear_instance_cache()
    LayerFileSystem.clear_instance_cache()
