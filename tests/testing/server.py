"""A small object server over HTTP on loopback, with all that a backend may be able to do. In memory."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

PAGE = 25
"""Entries of a listing's page."""


@dataclass
class Upload:
    data: bytearray = field(default_factory=bytearray)
    began: float = field(default_factory=time.time)


@dataclass
class HeldLock:
    """``holder``: the connection that holds it, None: nobody. ``sign``: when it last gave a sign of life."""

    holder: object = None
    note: bytes = b""
    sign: float = 0.0
    lasting: bool = True


class ObjectServer(ThreadingHTTPServer):
    """Objects are ``/o/KEY``, uploads ``/u/ID``, listings ``/l/PREFIX``, locks ``/k/NAME``."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.uploads: dict[str, Upload] = {}
        self.locks: dict[str, HeldLock] = {}
        self.guard = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def clear(self) -> None:
        for each in (self.objects, self.uploads, self.locks):
            each.clear()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed or cut off are what this is for."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: ObjectServer

    def do_GET(self) -> None:
        kind, name, query = self._asked()
        if kind == "o":
            self._read(name, signed="for" in query)
        elif kind == "s":
            found = {key: data for key, (data, _) in self._below(name)}
            body = json.dumps({key: base64.b64encode(data).decode() for key, data in found.items()})
            self._answer(200, body.encode())
        elif kind == "l":
            after = query.get("after", "")
            keys = sorted((key, len(data), when) for key, (data, when) in self._below(name) if key > after)
            self._answer(200, json.dumps({"entries": keys[:PAGE], "more": len(keys) > PAGE}).encode())
        else:
            ages = {id: upload.began for id, upload in self.server.uploads.copy().items()}
            self._answer(200, json.dumps(ages).encode())

    def do_PUT(self) -> None:
        kind, name, query = self._asked()
        body = self._body()
        if kind == "k":
            self._leave_note(name, body)
        elif kind == "o":
            with self.server.guard:
                there = self.server.objects.get(name)
                was = there and repr(there[1])
                taken = (there and "new" in query) or ("was" in query and query["was"] != was)
                if not taken:
                    self.server.objects[name] = (body, time.time())
            self._answer(412 if taken else 200)
        elif upload := self.server.uploads.get(name):
            upload.data += body
            self._answer(200)
        else:
            self._answer(410, b"no such upload")

    def do_POST(self) -> None:
        kind, name, query = self._asked()
        self._body()
        if kind == "k":
            self._take(name, lasting="lasting" in query)
        elif kind == "t":
            with self.server.guard:
                if name in self.server.objects:
                    self.server.objects[name] = (self.server.objects[name][0], time.time())
            self._answer(200)
        elif not name:
            id = uuid.uuid4().hex
            self.server.uploads[id] = Upload()
            self._answer(200, id.encode())
        elif upload := self.server.uploads.pop(name, None):
            self.server.objects[query["key"]] = (bytes(upload.data), time.time())
            self._answer(200)
        else:
            self._answer(410, b"no such upload")

    def do_DELETE(self) -> None:
        kind, name, _ = self._asked()
        if kind == "k":
            self._let_go(name)
        else:
            (self.server.objects if kind == "o" else self.server.uploads).pop(name, None)
        self._answer(200)

    def finish(self) -> None:
        # Whose connection ends, however it ends, holds no lock any more.
        for name in list(self.server.locks):
            self._let_go(name)
        super().finish()

    def log_message(self, format: str, *args: object) -> None: ...

    def _read(self, key: str, *, signed: bool) -> None:
        found = self.server.objects.get(key)
        if found is None:
            self._answer(404, b"", {"X-Absent": key})
            return
        data, when = found
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = memoryview(data)[int(start) : int(end) + 1 if end else None]
        status = 206 if signed and "Range" in self.headers else 200
        self._answer(status, part, {"X-Size": str(len(data)), "X-Time": repr(when)})

    def _take(self, name: str, *, lasting: bool) -> None:
        with self.server.guard:
            lock = self.server.locks.setdefault(name, HeldLock())
            if lock.holder is None:
                lock.holder, lock.lasting, lock.sign = self, lasting, time.monotonic()
                self._answer(200, lock.note)
            else:
                silent = time.monotonic() - lock.sign
                self._answer(409, b"", {"X-Silent": repr(silent)})

    def _leave_note(self, name: str, note: bytes) -> None:
        with self.server.guard:
            lock = self.server.locks[name]
            lock.note, lock.sign = note, time.monotonic()
        self._answer(200)

    def _let_go(self, name: str) -> None:
        with self.server.guard:
            lock = self.server.locks.get(name)
            if lock and lock.holder is self:
                lock.holder = None
                if not lock.lasting:
                    del self.server.locks[name]

    def _below(self, prefix: str) -> list[tuple[str, tuple[bytes, float]]]:
        return [item for item in self.server.objects.copy().items() if item[0].startswith(prefix)]

    def _asked(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        kind, _, name = unquote(parts.path).lstrip("/").partition("/")
        return kind, name, dict(parse_qsl(parts.query, keep_blank_values=True))

    def _body(self) -> bytes:
        wanted = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(wanted)
        if len(body) < wanted:
            raise ConnectionResetError("the client broke off")
        return body

    def _answer(
        self, status: int, body: bytes | memoryview = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
