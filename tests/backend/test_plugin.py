"""docs/backends.md as its reader would use it: the plug-ins installed by pip, found by URL, and tested.

pip builds and installs them into folders of the test's, as they stand on the page: no network, nothing left.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fixtures import installer, pages
from servers.programs import requires

from layercache.backend import Backend
from layercache.oci.digest import Digest
from layercache.testing import BackendContract

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
END = "---- the end of a command\n"

CALLS = f"""
import json, sys
from layercache.cli.program import program
for arguments in json.loads(sys.argv[1]):
    assert not program(arguments, standalone_mode=False), arguments
    print({END!r}, end="", flush=True)
"""
"""Calls of the program, in one process: importing takes most of their time."""


def blocks() -> list[tuple[str, str]]:
    """File name and text of the page's fenced blocks: the name stands before the block, in back quotes."""
    return re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def installed(folder: Path, name: str) -> Path:
    """A folder for PYTHONPATH with the plug-in of this name, its test beside it."""
    project = folder / "project"
    project.mkdir()
    for file, text in blocks():
        if name in file or (file == "pyproject.toml" and f'"layercache-{name}"' in text):
            (project / file).write_text(text)
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
    # The build backend is that of this environment, and so are the dependencies.
    here = ["--no-build-isolation", "--no-index", "--no-deps", f"--target={folder / 'site'}"]
    run(*pip, "install", "--quiet", *here, str(project))
    (folder / f"test_layercache_{name}.py").write_text((project / f"test_layercache_{name}.py").read_text())
    return folder / "site"


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("sqlite"), "sqlite")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    requires("redis-server")
    return installed(tmp_path_factory.mktemp("redis"), "redis")


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
        timeout=200,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_an_installed_plug_in_is_found_by_its_scheme(sqlite: Path, tmp_path: Path) -> None:
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
    used, options, schemes = run("-c", program, str(tmp_path), site=sqlite).splitlines()
    assert used == f"sqlite://{tmp_path}/layers.db ['a/b']"
    assert options == "options of sqlite://: wait"
    assert schemes.startswith("known schemes: az,")
    assert ", sqlite" in schemes


@pytest.mark.slow
def test_the_plug_in_without_the_base_class_keeps_the_contract(sqlite: Path, tmp_path: Path) -> None:
    passed, skipped = contract(sqlite, tmp_path)
    assert passed > 70
    # It has the six methods alone, and no server.
    assert skipped == {"through() and server are not defined: the store has no server"}


@pytest.mark.slow
def test_the_plug_in_on_the_base_class_keeps_the_contract_behind_a_breaking_proxy(
    redis: Path, tmp_path: Path
) -> None:
    passed, skipped = contract(redis, tmp_path)
    assert passed > 90
    assert skipped == {"the server does not speak HTTP"}


def test_the_plug_in_on_the_base_class_serves_the_command_line(redis: Path, tmp_path: Path) -> None:
    """`doctor`, as the page has it, and `bench` too: a database has no folders below its URL."""
    installing, testing, checking = page_of("sh")[0].splitlines()
    installer.main(*shlex.split(installing))
    assert testing == "python -m pytest"  # see the tests above
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while not _listens(port):
                assert server.poll() is None
            cache = ["--cache", f"redis://127.0.0.1:{port}/0"]
            (tmp_path / "layer").write_bytes(bytes(1024))
            calls = [
                [*cache, "put", str(tmp_path / "layer")],
                [*cache, "get", str(Digest.of(bytes(1024))), "-o", str(tmp_path / "out")],
                [*cache, "bench", "--size", "1MB", "--count", "2", "--runs", "1"],
                shlex.split(checking.replace("6379", str(port)))[1:],
                [*cache, "ls"],
            ]
            printed = run("-c", CALLS, json.dumps(calls), site=redis).split(END)
            assert (tmp_path / "out").read_bytes() == bytes(1024)
            assert "big layer up" in printed[2]
            assert len(printed[4].splitlines()) == 1
        finally:
            server.kill()


def test_the_class_for_a_store_with_a_server_sets_what_the_contract_has() -> None:
    names: dict[str, Any] = {"Backend": Backend, "BackendContract": BackendContract}
    exec(page_of("python")[-1], names)
    mine = names["TestMyStore"]
    wanted = {name for name in vars(mine) if not name.startswith("__")}
    assert "through" in wanted
    assert {name for name in wanted if not hasattr(BackendContract, name)} == set()
    shown, promised = (inspect.signature(each.through).parameters for each in (mine, BackendContract))
    assert list(shown) == list(promised)


def page_of(language: str) -> list[str]:
    """The blocks of the page in a language."""
    return [block.text for block in pages.blocks(PAGE) if block.language == language]


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def contract(site: Path, folder: Path) -> tuple[int, set[str]]:
    """Run the test of a plug-in: how many passed, and why others were skipped (capabilities apart)."""
    (test,) = site.parent.glob("test_*.py")
    plain = ["-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(folder / "basetemp")]
    out = run("-W", "error", "-m", "pytest", "-q", "-rs", *plain, str(test), site=site, folder=folder)
    passed = re.search(r"^(\d+) passed, \d+ skipped in", out, re.MULTILINE)
    assert passed, out
    skipped = re.findall(r"^SKIPPED \[\d+\] [^ ]+ (.*)$", out, re.MULTILINE)
    return int(passed[1]), {reason for reason in skipped if not reason.startswith("this backend ")}
