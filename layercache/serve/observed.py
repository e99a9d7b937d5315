"""An application whose requests are counted and logged."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from layercache.serve.access_log import FORMS, AccessLog, Entry
from layercache.serve.held_signals import END_EVENTS, release

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

    from layercache.serve.application import Application
    from layercache.serve.messages import Headers
    from layercache.serve.tally import Tally

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are counted one by one."""

KINDS = (
    ("/manifests/", "manifest"),
    ("/blobs/uploads/", "upload"),
    ("/blobs/", "blob"),
    ("/tags/list", "tags"),
    ("/referrers/", "referrers"),
    ("/_catalog", "catalog"),
)

PROBES = {"/healthz": "health", "/readyz": "ready", "/metrics": "metrics"}

INTERVAL = 0.5
"""Seconds between two times that counts are saved and log lines written, while there are any."""


class Observed:
    """Another application, by the RSGI specification: with counts, an access log, and an end.

    ``save`` is called as often as counts are saved. It ends with the process that started the worker,
    however that one ended.
    """

    def __init__(
        self,
        application: Application,
        tally: Tally,
        access_log: str,
        save: Callable[[], object] | None = None,
    ) -> None:
        self._application = application
        self._tally = tally
        self._save_more = save
        self._log = AccessLog(FORMS[access_log]) if access_log in FORMS else None
        if self._log:
            tally.log_lines_dropped = lambda: self._log.dropped if self._log else 0
        self._parent = os.getppid()

    async def __call__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        seen: Any = _Seen(protocol)
        self._tally.begin()
        try:
            await self._application(scope, seen)
        finally:
            self._note(scope, seen)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A terminal sends these to each process. Those that the first one wants to end it ends itself.
        loop.remove_signal_handler(signal.SIGINT)
        for each in (signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        loop.add_signal_handler(END_EVENTS, self._application.end_events)
        loop.call_soon(release)  # once the loop runs, which hears of no signal before
        self._tick(loop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._application.__rsgi_del__(loop)
        self._save()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if os.getppid() != self._parent:
            os.kill(os.getpid(), signal.SIGTERM)
        saved = loop.run_in_executor(None, self._save)
        saved.add_done_callback(lambda _: loop.call_later(INTERVAL, self._tick, loop))

    def _save(self) -> None:
        self._tally.save()
        if self._save_more:
            self._save_more()
        if self._log:
            self._log.flush()

    def _note(self, scope: Scope, seen: _Seen) -> None:
        # Each attribute of a scope is made when it is looked at.
        path, method, (cache, size) = scope.path, scope.method, seen.cache_and_size()
        if method == "HEAD":
            size = None
        key = (kind_of(path), method if method in METHODS else "other", seen.status, cache)
        self._tally.end(key, size or 0, seen.seconds)
        if self._log:
            query, headers = scope.query_string, scope.headers
            self._log.add(
                Entry(
                    seen.began,
                    seen.seconds,
                    _address(scope.client),
                    headers.get("authorization") or "",
                    method,
                    f"{path}?{query}" if query else path,
                    seen.status,
                    size,
                    cache,
                    headers.get("user-agent") or "",
                )
            )


class _Seen:
    """A request's protocol, which notes what is answered, and when.

    ``seconds``: until the answer began. An application that never answers has the server's 500.
    """

    __slots__ = ("_headers", "_protocol", "_start", "seconds", "status")

    def __init__(self, protocol: HTTPProtocol) -> None:
        self._protocol = protocol
        self._headers: Headers = []
        self._start = time.perf_counter()
        self.seconds = 0.0
        self.status = 500

    @property
    def began(self) -> float:
        """When the request arrived, in seconds since 1970."""
        return time.time() - (time.perf_counter() - self._start)

    def cache_and_size(self) -> tuple[str, int | None]:
        """What the cache had, and bytes of the body, as the answer's headers say."""
        cache, size = "", None
        for name, value in self._headers:  # the mirror's own are in lower case
            if name == "x-layercache":
                cache = value
            elif name == "content-length":
                size = int(value)
        return cache, size

    def _answered(self, status: int, headers: Headers) -> None:
        self.seconds = time.perf_counter() - self._start
        self.status, self._headers = status, headers

    def response_empty(self, status: int, headers: Headers) -> None:
        self._answered(status, headers)
        self._protocol.response_empty(status, headers)

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._answered(status, headers)
        self._protocol.response_bytes(status, headers, body)

    def response_file(self, status: int, headers: Headers, file: str) -> None:
        self._answered(status, headers)
        self._protocol.response_file(status, headers, file)

    def response_file_range(self, status: int, headers: Headers, file: str, start: int, end: int) -> None:
        self._answered(status, headers)
        self._protocol.response_file_range(status, headers, file, start, end)

    def response_stream(self, status: int, headers: Headers) -> Any:
        self._answered(status, headers)
        return self._protocol.response_stream(status, headers)

    def client_disconnect(self) -> Any:
        return self._protocol.client_disconnect()

    def __call__(self) -> Any:
        return self._protocol()

    def __aiter__(self) -> Any:
        return self._protocol.__aiter__()


def _address(client: str) -> str:
    """The address of ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; IPv4 as itself, also on an IPv6 socket."""
    return client.rpartition(":")[0].strip("[]").removeprefix("::ffff:")


def kind_of(path: str) -> str:
    """The kind of a path, as metrics name it: a word of the distribution-spec, a probe or "other"."""
    if not path.startswith("/v2"):
        return PROBES.get(path, "other")
    for part, kind in KINDS:
        if part in path:
            return kind
    return "base" if path in ("/v2", "/v2/") else "other"
