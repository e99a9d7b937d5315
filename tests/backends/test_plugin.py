"""docs/backends.md as its reader would use it: the plug-in installed from a wheel, found by URL, and tested.

The wheel is put together here, and pip installs it into a folder of the test's: no network, nothing left.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"


def blocks() -> dict[str, str]:
    """File name to text, of the page's fenced blocks: the name stands before the block, in back quotes."""
    found = re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return dict(found)


def write_wheel(folder: Path) -> Path:
    """The plug-in as a wheel of one module (the binary distribution format, PyPA specifications)."""
    page = blocks()
    project = tomllib.loads(page["pyproject.toml"])["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    entry_points = "".join(
        f"[{group}]\n" + "".join(f"{scheme} = {target}\n" for scheme, target in entries.items())
        for group, entries in project["entry-points"].items()
    )
    info = f"{name}-{version}.dist-info"
    files = {
        "layercache_sqlite.py": page["layercache_sqlite.py"],
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH that the plug-in is installed in."""
    folder = tmp_path_factory.mktemp("plugin")
    wheel = write_wheel(folder)
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", f"--target={folder / 'site'}", str(wheel))
    return folder / "site"


def run(*arguments: str, site: Path | None = None, folder: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if site:
        environment["PYTHONPATH"] = str(site)
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_an_installed_plug_in_is_found_by_its_scheme(installed: Path, tmp_path: Path) -> None:
    program = """
import sys
from layercache.backend import open_backend
from layercache.errors import ConfigError
backend = open_backend(f"sqlite://{sys.argv[1]}/layers.db?wait=5")
with backend.create("a/b") as sink:
    sink.write(b"bytes")
    sink.commit()
print(backend.url, [entry.key for entry in backend.scan()])
for url in ("sqlite:///x?patience=5", "nowhere://x"):
    try:
        open_backend(url)
    except ConfigError as error:
        print(error.hint)
"""
    used, options, schemes = run("-c", program, str(tmp_path), site=installed).splitlines()
    assert used == f"sqlite://{tmp_path}/layers.db ['a/b']"
    assert options == "sqlite:// knows wait"
    assert schemes.startswith("known are file,")
    assert ", sqlite" in schemes


def test_the_plug_in_of_the_page_keeps_the_contract(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_layercache_sqlite.py").write_text(blocks()["test_layercache_sqlite.py"])
    plain = ["-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(tmp_path / "basetemp")]
    told = run("-W", "error", "-m", "pytest", "-q", "-rs", *plain, site=installed, folder=tmp_path)
    passed = re.search(r"^(\d+) passed, \d+ skipped in", told, re.MULTILINE)
    assert passed, told
    assert int(passed[1]) > 70, told
    # The page's backend has the six methods alone, and no server.
    skipped = re.findall(r"^SKIPPED \[\d+\] [^ ]+ (.*)$", told, re.MULTILINE)
    others = {reason for reason in skipped if not reason.startswith("this backend ")}
    assert others == {"through() and server are not given: the store is not behind a server"}, told
