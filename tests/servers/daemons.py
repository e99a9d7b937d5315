"""Daemons that run containers, each in separate folders: Docker and containerd. Both need root."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.programs import as_root, requires

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECONDS = 60.0


@contextmanager
def dockerd(*options: str) -> Iterator[str]:
    """A Docker daemon without a network, with more options; yields its address, for DOCKER_HOST."""
    as_root()
    requires("dockerd", "docker")
    with _folder() as folder:
        host = f"unix://{folder}/docker.sock"
        folders = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        command = [
            *(
                "dockerd",
                "--host",
                host,
                *(f"--{option}={folder}/{name}" for option, name in folders.items()),
            ),
            *("--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none", *options),
        ]
        with _running(folder, command, ["docker", "--host", host, "version"]):
            yield host


@contextmanager
def containerd() -> Iterator[str]:
    """A containerd; yields the path of its socket, for CONTAINERD_ADDRESS."""
    as_root()
    requires("containerd", "ctr")
    with _folder() as folder:
        address = f"{folder}/sock"
        (folder / "config.toml").write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n[grpc]\naddress = "{address}"\n'
            f'[plugins."io.containerd.internal.v1.opt"]\npath = "{folder}/opt"\n'
        )
        command = ["containerd", "--config", f"{folder}/config.toml"]
        with _running(folder, command, ["ctr", "--address", address, "version"]):
            yield address


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with a short name, since the path of a socket may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="lc-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path, command: Sequence[str], asking: Sequence[str]) -> Iterator[None]:
    """Run a daemon in the block, from when it answers."""
    log = folder / "log"
    with (
        open(log, "wb") as file,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            end = time.monotonic() + SECONDS
            while subprocess.run(asking, capture_output=True, check=False).returncode:
                if process.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"{command[0]} does not run:\n{log.read_text()[-3000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
