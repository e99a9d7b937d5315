"""A real registry (``docker-registry``) on a free loopback port, that counts what is fetched from it.

Plain HTTP by default; with TLS, with basic authentication, with tokens (see `servers.tokens`)::

    with Registry(tmp_path) as registry:
        name = registry.push(f"oci:{layout}:latest", "team/app:1")
        ...
        assert registry.fetches(digest) == 1
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pytest
from servers.programs import requires, run, skopeo_copy

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificates import Certificate

    from layercache.oci.digest import Hash

USER, PASSWORD = "someone", "opensesame"
HTPASSWD = f"{USER}:$2b$04$47B7H.BVmL94V4iS3eGg.ejK/2SUOih5.bpfbEI.lbuc17ec0DGCe\n"
"""bcrypt of the password above at its least cost: the one hash that docker-registry accepts."""

_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
_ACCESS = re.compile(r'"([A-Z]+) (\S+) HTTP/[0-9.]+" (\d+) (\d+|-)')


@dataclass(frozen=True)
class Access:
    """A line of the access log. ``sent``: bytes of the answer's body."""

    method: str
    path: str
    status: int
    sent: int


class Registry:
    """``docker-registry serve`` with its storage in a folder. `stop` and `start` keep port and contents.

    ``proxy``: the URL of a registry of which it is a pull-through cache.
    """

    def __init__(
        self,
        folder: Path,
        *,
        basic_auth: bool = False,
        tls: Certificate | None = None,
        token_auth: dict[str, str] | None = None,
        deletes: bool = True,
        proxy: str = "",
    ) -> None:
        requires("docker-registry")
        self._folder = folder
        self._tls = tls
        self._basic_auth = basic_auth
        self._token_auth = token_auth
        self._deletes = deletes
        self._proxy = proxy
        self._process: subprocess.Popen[bytes] | None = None
        self._markers = 0
        self.port = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "htpasswd").write_text(HTPASSWD)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None, "it runs"
        return self._process.pid

    @property
    def host(self) -> str:
        """Host and port, as references name it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens; at the same port as before, if it ran before."""
        config = self._folder / "config.yml"
        config.write_text(json.dumps(self._config()))  # JSON is YAML
        with (
            (self._folder / "access.log").open("ab") as access,
            (self._folder / "error.log").open("wb") as error,
        ):
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(config)],
                stdout=access,
                stderr=error,
                env={"PATH": os.environ["PATH"]},
            )
        deadline = time.monotonic() + 60
        while not (found := _LISTENING.search((self._folder / "error.log").read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"docker-registry does not start:\n{(self._folder / 'error.log').read_text()}")
            time.sleep(0.005)
        self.port = int(found[1])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def push(self, source: str, name: str, *options: str, credentials: str = "") -> str:
        """Copy an image, with all its platforms and as it is, in by skopeo; returns its full reference.

        ``source`` is one of skopeo's names (``oci:FOLDER:REF``, ``dir:FOLDER``), ``name`` a repository
        with a tag.
        """
        auth = credentials or (f"{USER}:{PASSWORD}" if self._basic_auth or self._token_auth else "")
        more = ["--dest-creds", auth] if auth else []
        if self._tls is None:
            more.append("--dest-tls-verify=false")
        else:
            more.append(f"--dest-cert-dir={self._tls.folder}")
        skopeo_copy(source, f"docker://{self.host}/{name}", ["--preserve-digests", *more, *options])
        return f"{self.host}/{name}"

    def accesses(self) -> list[Access]:
        """Every request so far, in order, but for this class's own.

        The registry writes a line after the answer: two requests of our own, one after the other,
        let it come first.
        """
        self._markers += 1
        marker = f"/v2/?marker={self._markers}"
        self._get(marker)
        deadline = time.monotonic() + 60
        while marker not in (text := (self._folder / "access.log").read_text()):
            if time.monotonic() > deadline:
                pytest.fail("docker-registry writes no access log")
            time.sleep(0.002)
        found = [
            Access(method, path, int(status), int(sent.replace("-", "0")))
            for method, path, status, sent in _ACCESS.findall(text)
        ]
        return [access for access in found if "?marker=" not in access.path]

    def fetches(self, digest: Hash) -> int:
        """How often a blob or manifest was asked for by GET under its digest, and given."""
        ends = (f"/blobs/{digest}", f"/manifests/{digest}")
        return sum(
            access.method == "GET" and access.status in (200, 206, 307) and access.path.endswith(ends)
            for access in self.accesses()
        )

    def forget(self, digest: Hash) -> None:
        """Lose a blob: the registry says from now on that it has none of the name."""
        shutil.rmtree(self.blob_file(digest).parent)

    def blob_file(self, digest: Hash) -> Path:
        """Where it stores a blob. It does not notice if that changes."""
        return self._storage / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex / "data"

    def collect_garbage(self, *, untagged: bool = False) -> None:
        """Remove the blobs that no manifest refers to; ``untagged``: and manifests without a tag first."""
        config = str(self._folder / "config.yml")
        run("docker-registry", "garbage-collect", *(["--delete-untagged"] if untagged else []), config)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _storage(self) -> Path:
        return self._folder / "storage" / "docker" / "registry" / "v2"

    def _get(self, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if self._tls is not None:
            context = ssl.create_default_context(cafile=str(self._tls.authority))
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        for _ in range(2):
            connection.request("GET", path)
            connection.getresponse().read()
        connection.close()

    def _config(self) -> dict[str, Any]:
        http_config: dict[str, Any] = {"addr": f"127.0.0.1:{self.port}", "secret": "no secret"}
        if self._tls is not None:
            http_config["tls"] = {"certificate": str(self._tls.certificate), "key": str(self._tls.key)}
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._folder / "storage")},
                "delete": {"enabled": self._deletes},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http_config,
        }
        if self._basic_auth:
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self._folder / "htpasswd")}}
        if self._token_auth is not None:
            config["auth"] = {"token": self._token_auth}
        if self._proxy:
            config["proxy"] = {"remoteurl": self._proxy}
        return config
