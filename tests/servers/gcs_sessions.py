"""Resumable uploads as Google Cloud Storage documents them, where fake-gcs-server makes it simple.

A session keeps what it was sent at the right offset, perhaps less than was sent, and whole quanta of what
arrived where a request breaks; says how far it is when it is asked; publishes when it has all of the bytes
that it was told of; and ends when it is deleted, or disappears.

    with SessionServer() as server:
        server.keeps.extend([256 << 10, None])      # of the next chunk that much, of the one after it all
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

QUANTUM = 256 << 10
PIECE = 64 << 10
OK, RESUME_INCOMPLETE, BAD_REQUEST, NOT_FOUND, CANCELLED = 200, 308, 400, 404, 499

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass
class Session:
    """An upload that is not over: what is kept of it so far."""

    name: str
    kept: bytearray = field(default_factory=bytearray)
    state: str = "open"
    """Or "finished", or "cancelled"."""
    lasting: int = 0
    """After how many bytes it disappears; 0: never."""


class SessionServer:
    """One bucket of any name, that can be written to by sessions, and at once in a body of two parts."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.sessions: list[Session] = []
        self.keeps: deque[int | None] = deque()
        """How many bytes of each of the next chunks are kept; None, and when there are no more: all."""
        self.lasting: deque[int] = deque()
        """How many bytes each of the next sessions takes before it disappears; 0: it does not."""
        self.gone = 410
        """The status for sessions that have disappeared."""
        self.token: Callable[[], str] | None = None
        """The token that requests to sessions must have, if any."""
        self.refused = 0
        """Requests to sessions with another token."""
        self.host = ""
        """Where sessions are, if not at the host that was asked for one."""
        self.arrived = 0
        """Bytes that were sent to sessions."""
        self.shown: list[tuple[str, bool]] = []
        """The method of each request that may have a body, and whether it showed who asks."""
        outer = self

        class Bound(_Handler):
            server_of = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.port = self._server.server_port

    @property
    def states(self) -> list[str]:
        return [session.state for session in self.sessions]

    def begin(self, name: str) -> int:
        self.sessions.append(Session(name, lasting=self.lasting.popleft() if self.lasting else 0))
        return len(self.sessions) - 1

    def send(self, number: int, content_range: str, body: bytes, broken: bool = False) -> tuple[int, Session]:
        """What a PUT to a session does: the status of the answer, and the session."""
        session = self.sessions[number]
        found = _RANGE.fullmatch(content_range)
        if found is None:
            return BAD_REQUEST, session
        if session.state == "gone":
            return self.gone, session
        if session.state != "open":
            return (OK if session.state == "finished" else CANCELLED), session
        first, last, total = found.groups()
        final = total != "*" and (last is None or int(last) + 1 == int(total))
        if session.lasting and len(session.kept) + len(body) > session.lasting:
            session.state = "gone"
            return self.gone, session
        if body:
            if not broken and (
                int(last) - int(first) + 1 != len(body) or (len(body) % QUANTUM and not final)
            ):
                return BAD_REQUEST, session
            if int(first) > len(session.kept):
                return BAD_REQUEST, session
            keep = self.keeps.popleft() if self.keeps else None
            if broken:
                body = body[: len(body) - (int(first) + len(body)) % QUANTUM]
            session.kept += body[len(session.kept) - int(first) :][:keep]
        if total != "*" and len(session.kept) == int(total):
            session.state = "finished"
            self.objects[session.name] = bytes(session.kept)
            return OK, session
        return RESUME_INCOMPLETE, session

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10
    server_of: SessionServer

    def do_POST(self) -> None:
        body, _ = self._body()
        query = parse_qs(urlsplit(self.path).query)
        if query["uploadType"] == ["multipart"]:
            boundary = self.headers["Content-Type"].partition("boundary=")[2]
            resource, media = (
                part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
                for part in body.split(f"--{boundary}".encode())[1:3]
            )
            self.server_of.objects[json.loads(resource)["name"]] = media
            self._answer(OK, {}, json.loads(resource))
            return
        number = self.server_of.begin(query["name"][0])
        host = self.server_of.host or self.headers["Host"]
        self._answer(OK, {"Location": f"http://{host}/upload/session?upload_id={number}"})

    def do_PUT(self) -> None:
        token = self.server_of.token
        known = token is None or self.headers["Authorization"] == f"Bearer {token()}"
        body, broken = self._body()
        if not known:
            self.server_of.refused += 1
            self._answer(401, {}, {"error": {"code": 401, "message": "Invalid Credentials"}})
            return
        status, session = self.server_of.send(self._number(), self.headers["Content-Range"], body, broken)
        if broken:
            return
        if status == RESUME_INCOMPLETE:
            self._answer(status, {"Range": f"bytes=0-{len(session.kept) - 1}"} if session.kept else {})
        else:
            self._answer(status, {}, {"name": session.name, "size": str(len(session.kept))})

    def do_DELETE(self) -> None:
        session = self.server_of.sessions[self._number()]
        if session.state == "open":
            session.state = "cancelled"
        self._answer(CANCELLED, {})

    def log_message(self, format: str, *args: object) -> None: ...

    def _number(self) -> int:
        return int(parse_qs(urlsplit(self.path).query)["upload_id"][0])

    def _body(self) -> tuple[bytes, bool]:
        """The request's body, and whether the connection broke before its end."""
        self.server_of.shown.append((self.command, "Authorization" in self.headers))
        wanted = int(self.headers["Content-Length"] or 0)
        body = bytearray()
        with suppress(OSError):
            while piece := self.rfile.read1(min(PIECE, wanted - len(body))):
                body += piece
                self.server_of.arrived += len(piece) if self.command == "PUT" else 0
        self.close_connection = broken = len(body) < wanted
        return bytes(body), broken

    def _answer(self, status: int, headers: dict[str, str], document: object = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
