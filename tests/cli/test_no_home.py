"""A user without HOME and without an entry in the user database, as in many containers."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = """
import pwd, sys

def unknown(uid):
    raise KeyError(uid)

pwd.getpwuid = unknown
from layercache.cli import main
sys.argv[0] = "layercache"
main()
"""
"""The program, for a user whom the user database does not know. A real one could not read the interpreter."""


def call(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, in which whatever it makes by mistake would be made."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOME", "XDG_", "LAYERCACHE", "DOCKER", "REGISTRY"))
    }
    return subprocess.run(
        [sys.executable, "-c", UNKNOWN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder,
        env={**kept, **environment},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_a_user_without_a_home_is_asked_to_name_a_cache(folder: Path, home: dict[str, str]) -> None:
    done = call(folder, "ls", **home)
    assert done.returncode == 2, done.stderr
    for what in ("HOME", "LAYERCACHE_URL", "--cache"):
        assert what in done.stderr
    assert os.listdir(folder) == []


@pytest.mark.parametrize("named", ["option", "variable", "cache home"])
def test_a_user_without_a_home_can_use_a_cache_that_is_named(folder: Path, named: str) -> None:
    url = f"file://{folder}/cache"
    options = ["--cache", url] if named == "option" else []
    variables = {
        "option": {},
        "variable": {"LAYERCACHE_URL": url},
        "cache home": {"XDG_CACHE_HOME": f"{folder}/x"},
    }
    (folder / "layer").write_bytes(b"no layer at all")
    done = call(folder, *options, "put", "--any", "layer", **variables[named])
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(folder)) == sorted(["layer", "x" if named == "cache home" else "cache"])
    assert call(folder, "config", "path").returncode in (0, 1)
    assert not (folder / "~").exists()


def test_a_path_below_an_unknown_home_is_reported(folder: Path) -> None:
    done = call(folder, "--cache", "~/layers", "ls")
    assert done.returncode == 2
    assert "set HOME" in done.stderr
    assert os.listdir(folder) == []
