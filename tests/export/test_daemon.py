"""Images go into a Docker daemon over its socket; and what a daemon answers is understood.

The daemons here are servers that answer as Docker does; `test_programs.py` has the real one.
"""

from __future__ import annotations

import io
import json
import socketserver
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
from export.kept import damage, keep
from servers.images import make_image, make_layer, noise

from layercache.config.configuration import Configuration
from layercache.errors import ConfigError, DigestMismatchError, SourceError
from layercache.export.to_daemon import DockerAddress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.images import Sample

    from layercache.cache import Cache


class Daemon:
    """What came, and what to answer: a status and a body, and whether all that comes is read before."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.complete: list[bool] = []
        self.body = b""
        self.status = 200
        self.answer = b'{"stream":"Loaded image: app:1\\n"}\r\n'
        self.reads = True


def read_chunks(file: io.BufferedIOBase) -> tuple[bytes, bool]:
    """A chunked body, and whether it has its end."""
    parts = []
    while size := int(file.readline() or b"0", 16):
        parts.append(file.read(size))
        if len(parts[-1]) < size:
            return b"".join(parts), False
        file.readline()
    return b"".join(parts), file.readline() == b"\r\n"


@contextmanager
def serving(path: Path, daemon: Daemon) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            daemon.requests.append(self.path)
            if daemon.reads:
                assert self.headers["Transfer-Encoding"] == "chunked"
                daemon.body, complete = read_chunks(self.rfile)
                daemon.complete.append(complete)
            self.send_response(daemon.status)
            self.send_header("Content-Length", str(len(daemon.answer)))
            self.end_headers()
            self.wfile.write(daemon.answer)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "a socket has no address"

    class Server(socketserver.ThreadingUnixStreamServer):
        def handle_error(self, *_: object) -> None:
            """Clients hang up; that is what some tests are about."""

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon at the address that DOCKER_HOST has."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    made = Daemon()
    with serving(tmp_path / "docker.sock", made):
        yield made


def test_the_archive_is_what_a_file_would_have(
    cache: Cache, tmp_path: Path, sample: Sample, daemon: Daemon
) -> None:
    name = keep(cache, sample.image)
    done = cache.export(name, "docker-daemon:", platform="linux/amd64")
    cache.export(name, f"docker-archive:{tmp_path}/a.tar", platform="linux/amd64")
    assert daemon.body == (tmp_path / "a.tar").read_bytes()
    assert daemon.requests == ["/images/load?quiet=1"]
    assert daemon.complete == [True]
    assert done.layers == 3
    cache.export(name, "docker-daemon:other/name:2", platform="linux/amd64")
    with tarfile.open(fileobj=io.BytesIO(daemon.body)) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == ["docker.io/other/name:2"]


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (200, b'{"errorDetail":{"message":"no space"},"error":"no space"}\r\n', "no space"),
        (200, b'{"stream":"part"}\r\n{"error":"then this"}\r\n', "then this"),
        (500, b'{"message":"invalid archive"}\n', "invalid archive"),
        (404, b"nothing here", "404 Not Found"),
        (403, b"[]", "403 Forbidden"),
        (502, b"[" * 60_000, "502 Bad Gateway"),
    ],
)
@pytest.mark.parametrize("reads", [True, False])
def test_what_the_daemon_refuses_is_reported_in_its_words(
    cache: Cache, sample: Sample, daemon: Daemon, status: int, answer: bytes, reason: str, reads: bool
) -> None:
    daemon.status, daemon.answer, daemon.reads = status, answer, reads
    with pytest.raises(SourceError, match=reason) as caught:
        cache.export(keep(cache, sample.image), "docker-daemon:", platform="linux/amd64")
    assert "did not load docker.io/library/app:1" in caught.value.message


def test_a_daemon_that_hangs_up_before_the_end_is_asked_why(cache: Cache, daemon: Daemon) -> None:
    daemon.status, daemon.answer, daemon.reads = 500, b'{"message":"enough"}', False
    name = keep(cache, make_image([make_layer({"noise": noise(9 << 20)})]))
    with pytest.raises(SourceError, match=r"enough|closed the connection"):
        cache.export(name, "docker-daemon:", platform="linux/amd64")


def test_a_corrupt_layer_ends_the_request_without_its_end(
    cache: Cache, tmp_path: Path, daemon: Daemon
) -> None:
    image = make_image([make_layer({"noise": noise(3 << 20)})])
    name = keep(cache, image)
    damage(cache, tmp_path, image.layers[0].digest)
    with pytest.raises(DigestMismatchError):
        cache.export(name, "docker-daemon:", platform="linux/amd64")
    assert True not in daemon.complete


def test_where_nobody_listens_the_address_and_what_to_do_are_named(
    cache: Cache, tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    name = keep(cache, sample.image)
    with pytest.raises(SourceError, match=r"absent\.sock: No such file") as caught:
        cache.export(name, "docker-daemon:", platform="linux/amd64")
    assert "DOCKER_HOST" in caught.value.hint


@pytest.mark.parametrize(
    "host",
    [
        "ssh://me@host",
        "npipe:////./pipe/docker_engine",
        "unix://",
        "tcp://",
        "x",
        "tcp://[::1",
        "tcp://a b:1",
        "tcp://a..b:1",
        "tcp://\udcff:1",
        "tcp://host:99999",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_a_way_that_works(
    cache: Cache, sample: Sample, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    name = keep(cache, sample.image)
    with pytest.raises(ConfigError, match="DOCKER_HOST") as caught:
        cache.export(name, "docker-daemon:", platform="linux/amd64")
    assert "docker load" in caught.value.hint


@pytest.mark.parametrize("host", ["tcp://me:secret@127.0.0.1:1", "http://me:secret@host"])
def test_a_password_in_the_address_is_not_shown(
    cache: Cache, sample: Sample, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    name = keep(cache, sample.image)
    with pytest.raises((ConfigError, SourceError)) as caught:
        cache.export(name, "docker-daemon:", platform="linux/amd64")
    assert "secret" not in str(caught.value)


def test_certificates_that_cannot_be_read_are_named(
    cache: Cache, tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=str(tmp_path)):
        cache.export(keep(cache, sample.image), "docker-daemon:", platform="linux/amd64")


def test_an_image_without_a_tag_needs_a_name(cache: Cache, sample: Sample, daemon: Daemon) -> None:
    with pytest.raises(ConfigError, match="no tag"):
        cache.export(f"app@{sample.image.descriptor.digest}", "docker-daemon:")
    assert daemon.requests == []


def test_the_default_address_is_dockers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    with Configuration().open(["memory://"], by="a test") as cache:
        assert cache._docker is not None
        assert cache._docker() == DockerAddress("unix:///var/run/docker.sock", "")
