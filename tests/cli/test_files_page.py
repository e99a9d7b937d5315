"""docs/files.md, in files.md's order: its commands print what is shown, and its programs run."""

from __future__ import annotations

import contextlib
import io
import re
from typing import TYPE_CHECKING

import pytest
from fixtures.file_images import entry, folder, layer_of, link
from fixtures.pages import ROOT, blocks, check_examples, pattern
from servers.images import make_image

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Layer
    from servers.lying import LyingRegistry

PAGE = ROOT / "docs" / "files.md"

RELEASES = {
    "alpine:3.19": ("alpine", "3.19.1"),
    "alpine:3.20": ("alpine", "3.20.3"),
    "debian:12": ("debian", "12"),
    "ubuntu:24.04": ("ubuntu", "24.04"),
    "python:3.12": ("debian", "12"),
    "node:22": ("debian", "12"),
    "nginx:1.27": ("debian", "12"),
    "redis:7": ("debian", "12"),
    "postgres:17": ("debian", "13"),
    "golang:1.24": ("debian", "13"),
    "busybox:1.37": None,
}
"""The images of the page: what the os-release of each says."""


@pytest.fixture
def hub(lying: LyingRegistry, tmp_path: Path) -> dict[str, str]:
    """Variables by which Docker Hub is a registry with these images, and the cache is the test's."""
    for name, release in RELEASES.items():
        lying.add_image(name.partition(":")[2], make_image([base(name, release)]))
    config = tmp_path / "config.toml"
    config.write_text(f'[registries."docker.io"]\nmirrors = ["{lying.host}"]\n')
    return {"LAYERCACHE_CONFIG": str(config), "LAYERCACHE_URL": f"file://{tmp_path}/cache"}


def base(name: str, release: tuple[str, str] | None) -> Layer:
    """Debian's layer, say: the release below usr/lib, and a link to it; Alpine has a regular file."""
    if release is None:
        return layer_of([folder("bin"), entry("bin/busybox", name.encode())])
    system, version = release
    text = f'PRETTY_NAME="{system.title()} {version}"\nID={system}\nVERSION_ID="{version}"\n'.encode()
    if system == "alpine":
        members = [
            entry("etc/alpine-release", f"{version}\n".encode()),
            entry("etc/os-release", text),
            entry("lib/apk/db/installed", f"P:musl\nV:1.2.{version[-1]}\n".encode()),
        ]
    else:
        members = [link("etc/os-release", "../usr/lib/os-release"), entry("usr/lib/os-release", text)]
    return layer_of([folder("etc"), *members, entry("usr/share/name", name.encode())])


@pytest.mark.timeout(300)
def test_the_page_does_what_it_shows(
    hub: dict[str, str], program: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_examples(PAGE, tmp_path, here={}, environment=hub, program=program)
    monkeypatch.chdir(tmp_path)
    for name, value in hub.items():
        monkeypatch.setenv(name, value)
    names: dict[str, object] = {}
    found = list(blocks(PAGE))
    for number, block in enumerate(found):
        if block.language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.text, PAGE.name, "exec"), names)
        following = found[number + 1] if number + 1 < len(found) else block
        if not following.language and following.heading == block.heading:
            assert re.fullmatch(pattern(following.text), printed.getvalue()), printed.getvalue()
