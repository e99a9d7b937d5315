"""Azurite, Microsoft's emulator of Azure Storage, on a free loopback port: blobs in memory.

with Azurite() as server:
    container = server.container()
    open_backend(f"az://{container}/prefix?endpoint_url={server.url}")     # with ``server.environment``
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import itertools
import socket
import subprocess
import time
from email.utils import formatdate
from typing import Self

import pytest
from servers.programs import requires

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that every Azurite has; documented by Microsoft, and no secret."""

ENVIRONMENT = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}

_PATIENCE = 60.0


class Azurite:
    """One server for many tests: each makes a container of its own."""

    def __init__(self) -> None:
        requires("azurite-blob")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._serial = itertools.count()

    @property
    def url(self) -> str:
        """The blob service of the account."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def container(self) -> str:
        """The name of a new container."""
        name = f"container-{next(self._serial)}"
        path = f"/{ACCOUNT}/{name}?restype=container"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        named = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
        resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        text = "PUT" + "\n" * 12 + named + resource  # Microsoft's "Authorize with Shared Key"
        signed = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signed).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("PUT", path, headers={**headers, "Content-Length": "0"})
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()
        finally:
            connection.close()
        return name

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            self.port = holder.getsockname()[1]
        self._process = subprocess.Popen(
            ["azurite-blob", "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--disableTelemetry",
             "--blobPort", str(self.port), "--silent", "--skipApiVersionCheck"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        patience = time.monotonic() + _PATIENCE
        while time.monotonic() < patience:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        self.__exit__()
        pytest.fail(f"Azurite did not start in {_PATIENCE:.0f} s")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
