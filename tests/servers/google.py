"""Google Cloud Storage's XML API, by which fake-gcs-server takes no writes, and tokens for service accounts.

with Google() as server:
    account.write_text(json.dumps(server.account()))
    open_backend(f"gs://bucket/prefix?endpoint_url={server.url}&token={account}")
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote


class Google:
    """``objects`` by their path, the bucket first; ``bearers``, ``payers``: what headers have said."""

    token = "a-token"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.bearers: set[str | None] = set()
        self.payers: set[str | None] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self._body()
                self._answer(200, json.dumps({"access_token": outer.token, "expires_in": 3600}).encode())

            def do_PUT(self) -> None:
                self._seen()
                outer.objects[self._name()] = self._body()
                self._answer(200)

            def do_GET(self) -> None:
                self._seen()
                found = outer.objects.get(self._name())
                if found is None:
                    self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                else:
                    self._answer(200, found)

            def _seen(self) -> None:
                outer.bearers.add(self.headers["Authorization"])
                outer.payers.add(self.headers["x-goog-user-project"])

            def _name(self) -> str:
                return unquote(self.path)

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers["Content-Length"]))

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                for name, value in {
                    "Content-Length": str(len(body)),
                    "ETag": '"tag"',
                    "Last-Modified": self.date_time_string(),
                    "x-goog-generation": "7",
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def account(self) -> dict[str, Any]:
        """A service account's file, with a new key."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "client_email": "me@example.com",
            "private_key": pem.decode(),
            "token_uri": f"{self.url}/token",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
