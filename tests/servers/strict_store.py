"""A store that wants more than an emulator does: it stands before moto or fake-gcs-server, and refuses what
a real bucket refuses.

    with StrictStore(moto_endpoint) as strict:
        strict.demands = [object_lock, requester_pays]
        open_backend(f"s3://bucket/prefix?endpoint_url={strict.url}&requester_pays=true")
        ...
        assert strict.refused == []

The codes and texts are those of Amazon's documentation ("Error responses", "Object Lock", "Requester Pays").
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Asked:
    """One request. Names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def sends_bytes(self) -> bool:
        """Whether it is an object, or a part of one."""
        return self.method == "PUT"

    @property
    def begins_object(self) -> bool:
        """Whether it decides how an object is stored."""
        return (self.method == "PUT" and "uploadId" not in self.query) or (
            self.method == "POST" and "uploads" in self.query
        )


@dataclass(frozen=True)
class Refusal:
    """As S3 words it."""

    status: int
    code: str
    message: str

    @property
    def body(self) -> str:
        return f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"


class GoogleRefusal(Refusal):
    @property
    def body(self) -> str:
        return json.dumps({"error": {"code": self.status, "message": self.message}})


if TYPE_CHECKING:
    Demand = Callable[[Asked], Refusal | None]


def object_lock(asked: Asked) -> Refusal | None:
    """A hash of what is sent, in one of the headers that can hold it, and the right one."""
    completes = asked.method == "POST" and "uploadId" in asked.query
    if not (asked.sends_bytes or completes):
        return None
    found = {
        "content-md5": hashlib.md5(asked.body).digest(),
        "x-amz-checksum-sha256": hashlib.sha256(asked.body).digest(),
    }
    named = {name: value for name, value in found.items() if name in asked.headers}
    if not named:
        wanted = (
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock"
        )
        return Refusal(400, "InvalidRequest", f"{wanted} parameters")
    if any(base64.b64encode(value).decode() != asked.headers[name] for name, value in named.items()):
        return Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    return None


def requester_pays(asked: Asked) -> Refusal | None:
    if asked.headers.get("x-amz-request-payer") == "requester":
        return None
    return Refusal(403, "AccessDenied", "Access Denied")


def encrypted(kind: str, key: str = "") -> Demand:
    """These headers, where an object is begun, and nowhere else: S3 refuses them with a part."""

    def demand(asked: Asked) -> Refusal | None:
        wanted = {"x-amz-server-side-encryption": kind} | (
            {"x-amz-server-side-encryption-aws-kms-key-id": key} if key else {}
        )
        found = {
            name: value for name, value in asked.headers.items() if name.startswith("x-amz-server-side-enc")
        }
        if found == (wanted if asked.begins_object else {}):
            return None
        if not asked.begins_object:
            return Refusal(
                400, "InvalidArgument", "x-amz-server-side-encryption header is not supported here"
            )
        return Refusal(403, "AccessDenied", "explicit deny in a resource-based policy")

    return demand


def token_is(current: Callable[[], str]) -> Demand:
    """A session token other than the current one has ended."""

    def demand(asked: Asked) -> Refusal | None:
        if asked.headers.get("x-amz-security-token") == current():
            return None
        return Refusal(400, "ExpiredToken", "The provided token has expired.")

    return demand


def bearer_is(current: Callable[[], str]) -> Demand:
    """Google's: a token other than the current one has ended or was revoked."""

    def demand(asked: Asked) -> Refusal | None:
        if asked.headers.get("authorization") == f"Bearer {current()}":
            return None
        return GoogleRefusal(401, "authError", "Invalid Credentials")

    return demand


def conditions_ignored(*names: str) -> Demand:
    """Not refused, but passed on without its conditions: these, or all."""

    def demand(asked: Asked) -> Refusal | None:
        for name in names or ("if-match", "if-none-match"):
            asked.headers.pop(name, None)
        asked.query.pop("ifGenerationMatch", None)
        return None

    return demand


def conditions_unknown(asked: Asked) -> Refusal | None:
    if not {"if-match", "if-none-match", "ifGenerationMatch"} & {*asked.headers, *asked.query}:
        return None
    message = "A header you provided implies functionality that is not implemented."
    kind = GoogleRefusal if "ifGenerationMatch" in asked.query else Refusal
    return kind(501, "NotImplemented", message)


def tags_without_quotes(asked: Asked) -> Refusal | None:
    """As some services compare them, which thus refuse every tag that is sent as it was received."""
    if '"' not in asked.headers.get("if-match", ""):
        return None
    return Refusal(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")


class StrictStore:
    """``asked``: all requests so far; ``refused``: those that lacked what is demanded."""

    def __init__(self, endpoint: str) -> None:
        self.demands: list[Demand] = []
        self.asked: list[Asked] = []
        self.refused: list[Asked] = []
        behind = urlsplit(endpoint).netloc
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                asked = Asked(self.command, parts.path, query, headers, body)
                refusal = outer._judged(asked)
                if refusal:
                    self._answer(refusal.status, {}, refusal.body.encode())
                else:
                    self._answer(*_forwarded(behind, asked))

            def do_PUT(self) -> None:
                self.do_GET()

            def do_POST(self) -> None:
                self.do_GET()

            def do_DELETE(self) -> None:
                self.do_GET()

            def do_HEAD(self) -> None:
                self.do_GET()

            def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers and status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _judged(self, asked: Asked) -> Refusal | None:
        self.asked.append(asked)
        refusal = next(filter(None, (demand(asked) for demand in self.demands)), None)
        if refusal:
            self.refused.append(asked)
        return refusal

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _forwarded(behind: str, asked: Asked) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in asked.headers.items() if name not in ("expect", "connection")}
    connection = http.client.HTTPConnection(behind, timeout=60)
    target = f"{asked.path}?{urlencode(asked.query)}" if asked.query else asked.path
    try:
        connection.request(asked.method, target, asked.body, headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    kept = {
        name: value
        for name, value in answer.getheaders()
        if name.lower() not in ("transfer-encoding", "connection", "date", "server")
    }
    return answer.status, kept, body
