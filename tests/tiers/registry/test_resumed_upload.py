"""An upload that the registry remembers. docker-registry 2.8 forgets one that broke off: this one is ours."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

import pytest
from servers.images import noise
from tiers.contract import verified

from layercache.errors import SourceError
from layercache.oci.digest import Digest
from layercache.registry import upload
from layercache.registry.client import RegistryClient
from layercache.registry.repository import Repository
from layercache.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 64 << 10


class Remembering:
    """Takes one blob, in pieces, and keeps what came before a break.

    ``breaks``: bytes of the blob after which a connection is hung up, each once. ``forgets``: it then
    knows nothing of the upload, so often.
    """

    def __init__(self) -> None:
        self.data = b""
        self.breaks: list[int] = []
        self.forgets = 0
        self.asked: list[str] = []
        self.name = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            do_HEAD = do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815  # http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if handler.path != "/v2/":
            self.asked.append(handler.command)
        status, headers = 202, {"Location": "/v2/app/blobs/uploads/1?state=x"}
        match handler.command:
            case "POST":
                self.data = b""
            case "PATCH":
                begin = int(re.match(r"(\d+)-", handler.headers["Content-Range"])[1])  # type: ignore[index]
                if begin != len(self.data):
                    status = 416
                elif self.breaks and begin + len(body) > self.breaks[0]:
                    self.data += body[: self.breaks.pop(0) - begin]
                    handler.close_connection = True
                    return
                else:
                    self.data += body
            case "PUT":
                self.data += body
                self.name = f"sha256:{hashlib.sha256(self.data).hexdigest()}"
                status = 201
            case "GET" if self.forgets and "uploads" in handler.path:
                self.forgets -= 1
                status = 404
            case "GET" if "uploads" in handler.path:
                status, headers["Range"] = 204, f"0-{max(len(self.data) - 1, 0)}"
            case _:
                status = 404 if handler.path != "/v2/" else 200
        handler.send_response(status)
        for name, text in {**headers, "Content-Length": "0"}.items():
            handler.send_header(name, text)
        handler.end_headers()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remembering]:
    monkeypatch.setattr(upload, "UPLOAD_PIECE", PIECE)
    with Remembering() as running:
        yield running


@pytest.fixture
def repository(server: Remembering) -> Iterator[Repository]:
    client = RegistryClient(RegistrySettings(retries=3), sleep=lambda _: None)
    yield Repository(client, server.host, "app")
    client.close()


@pytest.mark.parametrize("breaks", [[0], [1000], [PIECE + 1], [2 * PIECE + 500, 2 * PIECE + 900]])
def test_a_piece_that_broke_off_goes_on_at_the_byte_that_the_registry_has(
    server: Remembering, repository: Repository, breaks: list[int]
) -> None:
    data = noise(3 * PIECE + 10)
    server.breaks = list(breaks)
    assert repository.push(Digest.of(data), verified(data, Digest.of(data))) == len(data)
    assert server.breaks == []
    assert server.name == Digest.of(data)
    assert server.asked.count("POST") == 1
    assert server.asked.count("PATCH") == 4 + len(breaks)


def test_what_the_registry_forgot_cannot_go_on_where_the_bytes_are_gone(
    server: Remembering, repository: Repository
) -> None:
    data = noise(3 * PIECE)
    server.breaks, server.forgets = [2 * PIECE + 1], 1
    with pytest.raises(SourceError, match="forgot the upload"):
        repository.push(Digest.of(data), verified(data, Digest.of(data)))
    assert server.name == ""
