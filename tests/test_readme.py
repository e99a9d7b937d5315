"""README: what it shows runs as it stands, only against a registry and a folder of the test's own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise

import layercache

if TYPE_CHECKING:
    from servers.images import Layer
    from servers.lying import LyingRegistry

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
ALPINE = "docker.io/library/alpine:3.20"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def local(lying: LyingRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What stands in the README, and what it is here; in a folder with a layer in a file."""
    monkeypatch.chdir(tmp_path)
    layer = make_layer({"file": noise(5000)})
    (tmp_path / "layer.tar.gz").write_bytes(layer.blob)
    upper = make_layer({"etc/os-release": b"ID=alpine\n"}, "zstd")
    name = lying.add_image("3.20", make_image([layer, upper]))
    return {ALPINE: name, "/tmp/layers": str(tmp_path / "layers"), **names_of(layer)}


def names_of(layer: Layer) -> dict[str, str]:
    return {"sha256:DIGEST": layer.digest, "sha256:DIFF-ID": layer.diff_id}


def adapted(code: str, local: dict[str, str]) -> str:
    for theirs, ours in local.items():
        code = code.replace(theirs, ours)
    return code


def test_the_python_examples_run(local: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(adapted(block, local), "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "ustar" in printed
    assert "fetched compressed" in printed


def test_the_shell_examples_run(local: dict[str, str], tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "LAYERCACHE_URL": f"file://{tmp_path}/cache"}
    for block in blocks("console"):
        for line in adapted(block, local).splitlines():
            assert line.startswith("$ layercache "), line
            done = subprocess.run(shlex.split(line[2:]), env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert layercache.DiffID.of((tmp_path / "layer.tar").read_bytes()) == local["sha256:DIFF-ID"]
