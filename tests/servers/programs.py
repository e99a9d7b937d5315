"""Programs of other projects that tests call; a test that needs an absent one is skipped and says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def requires(*programs: str) -> None:
    """Skip the test unless all the programs are on the PATH. Call it in a test or a fixture."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}, not installed here")


def run(*command: str, cwd: str | None = None) -> str:
    """Run a program to its end; its standard output. Fails the test with what it said, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=100)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def trusting_policy(folder: Path) -> Path:
    """A ``policy.json`` in the folder by which containers' tools take images that nobody has signed."""
    policy = folder / "policy.json"
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return policy


def skopeo_copy(source: str, target: str, options: Sequence[str] = ()) -> None:
    """``skopeo copy`` between two of its names, all platforms, whatever this machine's policy says.

    Where the target keeps the layers as they are, add ``--preserve-digests``, or plain ones are gzipped.
    """
    requires("skopeo")
    run("skopeo", "--insecure-policy", "copy", "--quiet", "--all", *options, source, target)


def as_root() -> None:
    """Skip the test unless it runs as root. Call it in a test or a fixture."""
    if os.geteuid():
        pytest.skip("needs root, for devices in its own folder")
