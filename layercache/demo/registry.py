"""A registry on loopback that serves one OCI layout and counts what it served.

The pull side of the OCI distribution-spec v1.1 ("Pull", and the list of tags, which skopeo asks for) on the
standard library, so that the demo needs no other program and can show what was sent.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec

from layercache.errors import InvalidNameError, NotFoundError
from layercache.oci.annotations import REF_NAME
from layercache.oci.descriptor import OCTETS, Descriptor, Index, decode
from layercache.oci.digest import Digest
from layercache.oci.image_tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import BinaryIO

_ROUTE = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags)/(?P<reference>[^/]+)")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(slots=True)
class Served:
    """How many GETs and HEADs in all; and for each blob and manifest how many GETs and bytes."""

    requests: int = 0
    gets: Counter[Digest] = field(default_factory=Counter)
    sent: Counter[Digest] = field(default_factory=Counter)


class LayoutRegistry:
    """Serves the OCI layout in a folder, as one repository, on a port of 127.0.0.1 (0: any free port).

    A context manager: inside, it answers; leaving closes every connection. The layout's index is read once;
    the tags are the reference names in it. Raises `OSError`, `FormatError`.
    """

    def __init__(self, folder: str, repository: str = "demo", port: int = 0) -> None:
        self.repository = repository
        self._folder = folder
        path = os.path.join(folder, "index.json")
        index = decode(_read(path), Index, path).manifests
        self.tags = {name: item for item in index if (name := (item.annotations or {}).get(REF_NAME))}
        self.manifests = {item.digest: item for item in self._below(index)}
        self._served = Served()
        self._lock = threading.Lock()
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def host(self) -> str:
        """``127.0.0.1:port``, as it stands in an image's reference."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def served(self) -> Served:
        """A copy of the counts. An answer is counted before its last byte is sent."""
        with self._lock:
            return Served(self._served.requests, self._served.gets.copy(), self._served.sent.copy())

    def count_request(self) -> None:
        with self._lock:
            self._served.requests += 1

    def count_sent(self, digest: Digest, size: int, *, gets: int = 0) -> None:
        with self._lock:
            self._served.gets[digest] += gets
            self._served.sent[digest] += size

    def blob_path(self, digest: Digest) -> str:
        return os.path.join(self._folder, "blobs", digest.algorithm, digest.hex)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _below(self, entries: list[Descriptor]) -> Iterator[Descriptor]:
        """The entries of the layout's index, and those of the indexes among them."""

        def read(entry: Descriptor) -> bytes:
            try:
                return _read(self.blob_path(entry.digest))
            except FileNotFoundError as error:
                raise NotFoundError(f"{entry.digest} is not in {self._folder}") from error

        for entry in entries:
            yield entry
            for node in walk(read, entry, failed=lambda _entry, _error: None):
                if isinstance(node.parsed, Index):
                    yield from node.parsed.manifests


def _read(path: str) -> bytes:
    with open(path, "rb") as source:
        return source.read()


class _Server(ThreadingHTTPServer):
    """One thread per connection. Closing the server ends kept-alive connections and their threads."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, registry: LayoutRegistry, port: int) -> None:
        self.registry = registry
        self._connections: set[Any] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's own: that asks the DNS for the host's name, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may disconnect at any time
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "layercache-demo"
    sys_version = ""
    disable_nagle_algorithm = True  # headers and body are two writes: Nagle's wait for the ACK is 40 ms each

    def do_GET(self) -> None:
        registry = self.server.registry
        registry.count_request()
        path = urlsplit(self.path).path
        if path == "/v2/":
            self._send_json({})
        elif (route := _ROUTE.fullmatch(path)) is None:
            self._refuse(HTTPStatus.NOT_FOUND, "UNSUPPORTED", f"nothing is served as {path}")
        elif route["repository"] != registry.repository:
            self._refuse(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", f"no repository {route['repository']}")
        elif route["kind"] == "manifests":
            self._send_manifest(route["reference"])
        elif route["kind"] == "blobs":
            self._send_blob(route["reference"])
        else:
            self._send_json({"name": registry.repository, "tags": sorted(registry.tags)})

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, in the spec's form: a malformed request, another method."""
        headers = {"Connection": "close"}  # such a request's body stays unread
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "this registry is for pulling"
            headers["Allow"] = "GET, HEAD"
        self._refuse(HTTPStatus(code), "UNSUPPORTED", message or explain or "", headers)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the counts are enough."""

    def _send_manifest(self, reference: str) -> None:
        registry = self.server.registry
        with contextlib.suppress(InvalidNameError, FileNotFoundError):
            if manifest := registry.tags.get(reference) or registry.manifests.get(Digest(reference)):
                self._send_file(manifest.digest, manifest.media_type)
                return
        self._refuse(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", f"no manifest {reference}")

    def _send_blob(self, reference: str) -> None:
        try:
            self._send_file(Digest(reference), OCTETS)
        except InvalidNameError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", error.message)
        except FileNotFoundError:
            self._refuse(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", f"no blob {reference}")

    def _send_file(self, digest: Digest, media_type: str) -> None:
        with open(self.server.registry.blob_path(digest), "rb") as source:
            size = os.fstat(source.fileno()).st_size
            asked = self._range(size, f'"{digest}"')
            if asked is not None and not asked:
                status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                extent = {"Content-Range": f"bytes */{size}"}
                self._refuse(status, "RANGE_INVALID", f"the blob has {size} bytes", extent)
                return
            part = range(size) if asked is None else asked
            headers = {
                "Accept-Ranges": "bytes",
                "Content-Length": str(len(part)),
                "Content-Type": media_type,
                "Docker-Content-Digest": digest,
                "ETag": f'"{digest}"',
            }
            if asked is not None:
                headers["Content-Range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
            status = HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT
            if self.command == "HEAD":
                self._send_head(status, headers)
            else:
                self._send_body(status, headers, source, part, digest)

    def _send_body(
        self, status: HTTPStatus, headers: Mapping[str, str], source: BinaryIO, part: range, digest: Digest
    ) -> None:
        count = self.server.registry.count_sent
        count(
            digest, len(part), gets=1
        )  # before sending, so a client that has the last byte finds it counted
        source.seek(part.start)
        try:
            self._send_head(status, headers)
            if part:
                self.connection.sendfile(source, part.start, len(part))
        except OSError:
            count(digest, source.tell() - part.stop)
            raise

    def _range(self, size: int, etag: str) -> range | None:
        """The bytes asked for (RFC 9110, 14.2), empty if there are none such; None if all are."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if self.command == "HEAD" or found is None or self.headers.get("If-Range", etag) != etag:
            return None
        first, last = found.groups()
        if first:
            if last and int(last) < int(first):
                return None
            return range(int(first), min(int(last) + 1, size) if last else size)
        return range(max(size - int(last), 0), size) if last else None

    def _refuse(
        self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer in the distribution-spec's form ("Error Codes")."""
        self._send_json({"errors": [{"code": code, "message": message}]}, status, headers)

    def _send_json(
        self, body: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
    ) -> None:
        data = msgspec.json.encode(body)
        own = {"Content-Length": str(len(data)), "Content-Type": "application/json"}
        self._send_head(status, {**own, **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
