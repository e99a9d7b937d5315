"""A registry on loopback that misbehaves as it is told, and remembers what it was asked.

    with LyingRegistry() as registry:
        layer = registry.add_blob(b"...")
        registry.add_manifest("app", "1", OCI_MANIFEST, b"{...}")
        registry.on("/blobs/", cut_off(1000), status(503))   # the next two requests for a blob
        ...
        assert [request.path for request in registry.requests] == [...]

Faults are used up in order, one a request whose path holds the text; then the answers are honest.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self, TypeAlias

from layercache.oci.descriptor import OCTETS, Descriptor
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from servers.certificates import Certificate
    from servers.images import Image, ImageIndex

OK, PARTIAL = 200, 206
PIECE = 64 << 10


@dataclass(frozen=True)
class Request:
    """What was asked. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Answer:
    """What is about to be sent; a fault changes it. ``cut`` breaks the connection after so many bytes.

    ``silent`` keeps it open until the registry ends. ``whole`` is the blob of which the body may be a range.
    ``pace`` is how many bytes a second are sent.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    chunked: bool = False
    silent: bool = False
    whole: bytes = b""
    pace: int | None = None


class Asked(BaseHTTPRequestHandler):
    """One connection. `registry` is the server's."""

    protocol_version = "HTTP/1.1"
    registry: LyingRegistry
    timeout = 60
    disable_nagle_algorithm = True  # head and body are written apart, and must not wait for each other

    def setup(self) -> None:
        super().setup()
        self.registry.connections += 1

    def do_GET(self) -> None:
        request = Request(
            self.command, self.path, {name.lower(): text for name, text in self.headers.items()}
        )
        fault = self.registry.next_fault(request)
        answer = self.registry.honest_answer(request)
        if fault is not None:
            fault(request, answer)
        self._send(answer)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_POST()

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.chunked:
            answer.headers["Transfer-Encoding"] = "chunked"
        else:
            answer.headers.setdefault("Content-Length", str(len(answer.body)))
        for name, text in answer.headers.items():
            if text:
                self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = answer.body if answer.cut is None else answer.body[: answer.cut]
        if answer.chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body += b"0\r\n\r\n" if answer.cut is None else b""
        try:
            self._write(body, answer.pace)
        except OSError:
            self.close_connection = True  # the client had enough of it
        if answer.silent:
            self.registry.ended.wait(60)
        if answer.cut is not None:
            self.close_connection = True

    def _write(self, body: bytes, pace: int | None) -> None:
        if pace is None:
            self.wfile.write(body)
            return
        last = b""
        with self.registry.sending():
            for start in range(0, len(body), PIECE):
                self.wfile.write(last)
                last = body[start : start + PIECE]
                time.sleep(len(last) / pace)
        self.wfile.write(last)  # who has it may ask for more before this thread has counted itself out

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news; a fault that raises is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # passed on as it is


Fault: TypeAlias = "Callable[[Request, Answer], None]"


class LyingRegistry:
    """Serves the blobs and manifests that were added, in every repository, with TLS or without."""

    def __init__(self, tls: Certificate | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.at_once = 0
        """How many answers were on their way at once at most, of those that have a pace."""
        self._sending = 0
        self.ended = threading.Event()
        self._faults: list[tuple[str, deque[Fault]]] = []
        self._lock = threading.Lock()
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[str, tuple[str, bytes]] = {}
        handler = type("Handler", (Asked,), {"registry": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def add_blob(self, data: bytes, media_type: str = OCTETS) -> Descriptor:
        digest = Digest.of(data)
        self._blobs[digest] = data
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def add_manifest(self, selector: str, media_type: str, data: bytes) -> Descriptor:
        """Under a tag, or any other text, and under its digest."""
        digest = Digest.of(data)
        self._manifests[selector] = self._manifests[digest] = (media_type, data)
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def add_image(self, tag: str, image: Image | ImageIndex) -> str:
        """An image with all that belongs to it; returns a reference to it."""
        for blob in image.blobs.values():
            self.add_blob(blob)
        for digest, (media_type, document) in image.documents.items():
            self.add_manifest(digest, media_type, document)
        self.add_manifest(tag, image.media_type, image.manifest)
        return f"{self.host}/app:{tag}"

    def on(self, text: str, *faults: Fault) -> None:
        """Use these faults, one after the other, on requests whose "METHOD path" holds the text."""
        with self._lock:
            self._faults.append((text, deque(faults)))

    def asked(self, text: str) -> list[Request]:
        """The requests so far whose "METHOD path" holds the text."""
        return [request for request in self.requests if text in f"{request.method} {request.path}"]

    @contextmanager
    def sending(self) -> Iterator[None]:
        """While an answer is on its way."""
        with self._lock:
            self._sending += 1
            self.at_once = max(self.at_once, self._sending)
        try:
            yield
        finally:
            with self._lock:
                self._sending -= 1

    def next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for text, faults in self._faults:
                if faults and text in f"{request.method} {request.path}":
                    return faults.popleft()
        return None

    def honest_answer(self, request: Request) -> Answer:
        name = request.path.partition("?")[0].rpartition("/")[2]
        if request.path == "/v2/":
            return Answer(OK, b"{}")
        if "/manifests/" in request.path and name in self._manifests:
            media_type, data = self._manifests[name]
            return Answer(OK, data, {"Content-Type": media_type, "Docker-Content-Digest": Digest.of(data)})
        if "/blobs/" in request.path and name in self._blobs:
            return _ranged(request, self._blobs[name])
        code = "MANIFEST_UNKNOWN" if "/manifests/" in request.path else "BLOB_UNKNOWN"
        return Answer(404, error_body(code, "not here"), {"Content-Type": "application/json"})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def _ranged(request: Request, data: bytes) -> Answer:
    wanted = request.headers.get("range", "").removeprefix("bytes=")
    if not wanted:
        return Answer(OK, data, whole=data)
    start, _, last = wanted.partition("-")
    return part_of(data, int(start), min(int(last or len(data)) + 1, len(data)))


def part_of(data: bytes, start: int, end: int) -> Answer:
    """Some of a blob, as an answer to a request for it."""
    content_range = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
    return Answer(PARTIAL, data[start:end], content_range, whole=data)


def error_body(code: str, message: str) -> bytes:
    """An error as the distribution-spec words it."""
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def cut_off(after: int) -> Fault:
    """Break the connection after so many bytes of the body; the length is stated truthfully."""

    def fault(_: Request, answer: Answer) -> None:
        answer.cut = after

    return fault


def silent(after: int) -> Fault:
    """Send so many bytes of the body, and then nothing more."""

    def fault(_: Request, answer: Answer) -> None:
        answer.cut, answer.silent = after, True

    return fault


def short(missing: int) -> Fault:
    """A complete answer whose body, and whose stated length, lack so many bytes."""

    def fault(_: Request, answer: Answer) -> None:
        answer.body = answer.body[:-missing]

    return fault


def without_length(more: bytes = b"", *, missing: int = 0) -> Fault:
    """No stated length (chunked), and more or fewer bytes than there should be."""

    def fault(_: Request, answer: Answer) -> None:
        answer.chunked = True
        answer.body = answer.body[: len(answer.body) - missing] + more

    return fault


def wrong_bytes(_: Request, answer: Answer) -> None:
    """As many bytes as there should be, but others."""
    answer.body = bytes(byte ^ 1 for byte in answer.body)


def ignoring_range(_: Request, answer: Answer) -> None:
    """The whole blob, whatever range of it was asked for."""
    answer.status, answer.body = OK, answer.whole
    answer.headers.pop("Content-Range", None)


def both(*faults: Fault) -> Fault:
    """Several faults at once, in this order."""

    def fault(request: Request, answer: Answer) -> None:
        for each in faults:
            each(request, answer)

    return fault


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """This status and body; headers with "_" for "-"."""

    def fault(_: Request, answer: Answer) -> None:
        answer.status, answer.body = code, body
        answer.headers = {name.replace("_", "-"): text for name, text in headers.items()}

    return fault


def redirect(url: str) -> Fault:
    return status(307, b"elsewhere", Location=url)


def changed(**headers: str) -> Fault:
    """The honest answer with other headers; an empty one is left out."""

    def fault(_: Request, answer: Answer) -> None:
        answer.headers.update({name.replace("_", "-"): text for name, text in headers.items()})

    return fault
