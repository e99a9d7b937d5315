"""The mirror: ``layercache serve`` as a process on a free loopback port, and a client that shows bytes.

with Mirror(tmp_path / "mirror", config=f"default_upstream = '{registry.host}'") as mirror:
    response = mirror.get("/v2/team/app/manifests/1")
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servers.certificates import Certificate


class Response(NamedTuple):
    """What a mirror answered. ``headers``: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mirror:
    """``layercache serve`` over caches of its own folder, or ``tiers``; ``config``: lines of [serve]."""

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        more_config: str = "",
        tiers: Sequence[str] = (),
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        tls: Certificate | None = None,
    ) -> None:
        pytest.importorskip("granian", reason="needs granian, not installed here")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.log_file = folder / "mirror.log"
        self._tiers = tiers or [f"file://{folder}/cache"]
        self._options = options
        self._environment = environment or {}
        self.context = ssl.create_default_context(cafile=str(tls.authority)) if tls else None
        if tls:
            config += f'\ntls_certificate = "{tls.certificate}"\ntls_key = "{tls.key}"'
        self.write_config(config, more_config)
        self.process: subprocess.Popen[bytes] | None = None

    def write_config(self, config: str, more_config: str = "") -> None:
        """Write the configuration file; ``more_config`` comes before the table [serve]."""
        (self.folder / "config.toml").write_text(f"{more_config}\n[serve]\n{config}\n")

    @property
    def pid(self) -> int:
        """The first process, whose children are the workers."""
        assert self.process is not None, "it runs"
        return self.process.pid

    @property
    def host(self) -> str:
        """Host and port, as references name it."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "layercache", "--config", str(self.folder / "config.toml"), "serve"]
        command += [part for tier in self._tiers for part in ("--cache", tier)]
        command += ["--port", str(self.port), *self._options]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.folder), **self._environment},
            )
        deadline = time.monotonic() + 100
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"layercache serve does not start:\n{self.log}")
            time.sleep(0.02)

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self.process is not None
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(each) for each in found.split()]

    def stop(self) -> int:
        """End it as a service manager does; return its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.terminate()
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"layercache serve does not end:\n{self.log}")

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """One request on a connection of its own. Raises `http.client.IncompleteRead` for a cut body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if self.context:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.context)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        return self.request("GET", path, headers)

    def head(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        return self.request("HEAD", path, headers)

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/v2/").status in (200, 401)
        except (OSError, http.client.HTTPException):
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
