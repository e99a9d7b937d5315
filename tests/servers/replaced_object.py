"""A bucket of S3 in which one object is replaced while it is read, and whose server ignores If-Match.

The first answer with bytes may break off; each one after it comes out of the new version, as from a proxy
that does not forward conditions.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")


class ReplacedObject:
    """Serves ``breaks`` bytes of ``old``, then ``new``. ``asked``: the headers of each GET.

    The connection of the first answer ends once ``cut`` is set: a client may drop what it has received and
    not passed on when that ends too early. Without ``ranges`` it
    sends the whole whatever is asked for, as some proxies do.
    """

    def __init__(self, old: bytes, new: bytes, breaks: int, *, ranges: bool = True) -> None:
        self.asked: list[dict[str, str]] = []
        self.cut = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_HEAD(self) -> None:
                self._head(200, old, 0, len(old))

            def do_GET(self) -> None:
                first = not outer.asked
                outer.asked.append({name.lower(): value for name, value in self.headers.items()})
                data = old if first else new
                found = _RANGE.fullmatch(self.headers.get("Range", "")) if ranges else None
                start = int(found[1]) if found else 0
                end = min(int(found[2]) + 1, len(data)) if found and found[2] else len(data)
                self._head(206 if found else 200, data, start, end)
                self.wfile.write(data[start : min(end, breaks) if first else end])
                if first:
                    self.wfile.flush()
                    outer.cut.wait(60)
                    self.close_connection = True

            def _head(self, status: int, data: bytes, start: int, end: int) -> None:
                self.send_response_only(status)
                self.send_header("Content-Length", str(end - start))
                self.send_header("ETag", f'"{"old" if data is old else "new"}"')
                self.send_header("Last-Modified", "Fri, 01 Jan 2027 00:00:00 GMT")
                self.send_header("Content-Type", "application/octet-stream")
                if status == 206:
                    self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut.set()
        self._server.shutdown()
        self._server.server_close()
