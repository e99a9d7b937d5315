"""A configuration of this test's own: no file of the machine's counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two below a project's root, which is given. The user's home is elsewhere."""
    for name in ("LAYERCACHE_CONFIG", "LAYERCACHE_URL", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("layercache.config.files.SYSTEM_FILE", str(tmp_path / "etc" / "config.toml"))
    here = tmp_path / "project" / "a" / "b"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return tmp_path / "project"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a file of TOML, by default one that is to be named; gives its path."""

    def write(text: str, path: Path | None = None) -> str:
        path = path or tmp_path / "named.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write
