"""HTTP for registries: single requests, redirects that leak no secrets, answers that are always ended."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from layercache.errors import SourceError
from layercache.registry import hints
from layercache.registry.connections import Connections
from layercache.registry.encoding import decoded, too_large
from layercache.registry.retry import TransientError
from layercache.registry.transport_errors import reason, translated, unquoted
from layercache.registry.urls import place, server_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.response import BaseHTTPResponse

    from layercache.registry.settings import RegistrySettings

DRAINED_MAX = 64 << 10
"""Maximum bytes to read and discard in order to keep a connection."""

REDIRECTS_MAX = 10
"""Redirects of one request that are followed: as many as by most clients, Go's and browsers among them."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Http:
    """Sends requests. Thread-safe; not to be used in a forked child of the process that made it."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        self._connections = Connections(settings)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> BaseHTTPResponse:
        """One request, one answer of whatever status, its body not yet read and never decoded.

        Raises `TransientError` where another try may help, else `SourceError`.
        """
        parts = urlsplit(url)
        sent = {"User-Agent": self._settings.user_agent, "Accept-Encoding": "identity", **headers}
        try:
            return self._connections.to(parts).request(
                method,
                url,
                body=body,
                headers=sent,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout,
            )
        except (HTTPError, OSError) as error:
            raise translated(error, parts) from unquoted(error)
        except ValueError:
            # http.client quotes what it does not take: a header with a token, a URL with a signature.
            raise SourceError(
                f"a request to {place(parts)} cannot be sent: a header or the URL has characters that HTTP "
                "does not allow"
            ) from None

    def follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorize: Callable[[SplitResult], str | None] = lambda _: None,
        body: bytes | None = None,
    ) -> tuple[BaseHTTPResponse, SplitResult]:
        """The answer at the end of all redirects, and the URL that gave it.

        ``authorize`` returns the Authorization header for each URL. A redirect from TLS to plain HTTP is
        refused, unless the host is listed as insecure.
        """
        first = parts = urlsplit(url)
        for _ in range(REDIRECTS_MAX + 1):
            authorization = authorize(parts)
            secret = {"Authorization": authorization} if authorization else {}
            response = self.send(method, url, {**headers, **secret}, body)
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or not location:
                return response, parts
            discard(response)
            target = server_url(location, f"{place(parts)} redirects to what", parts.geturl())
            self.check_redirect(parts, target)
            parts, url = target, target.geturl()
        raise SourceError(f"{place(first)} redirects more than {REDIRECTS_MAX} times")

    def close(self) -> None:
        self._connections.close()

    def check_redirect(self, start: SplitResult, target: SplitResult) -> None:
        """Refuse to be led from TLS to none, unless the host is listed as insecure. Raises `SourceError`."""
        downgraded = start.scheme == "https" and target.scheme == "http"
        if downgraded and not self._settings.is_insecure(start.netloc):
            raise SourceError(
                f"{place(start)} redirects to {place(target)} without TLS",
                hint=hints.downgrade(start.netloc),
            )


def discard(response: BaseHTTPResponse) -> None:
    """Have done with an answer; its connection is kept where little is left to read."""
    if response.length_remaining is not None and response.length_remaining <= DRAINED_MAX:
        response.drain_conn()
    abandon(response)


def abandon(response: BaseHTTPResponse) -> None:
    """Have done with an answer in the middle of it. Its connection is of no more use and is closed."""
    response.close()
    response.release_conn()


def read_all(response: BaseHTTPResponse, limit: int, what: str) -> bytes:
    """A small body, whole and decoded; more than ``limit`` bytes are a `TooBigError`, a break a
    `TransientError`.
    """
    return decoded(read_raw(response, limit, what), response.headers.get("Content-Encoding", ""), limit, what)


def read_raw(response: BaseHTTPResponse, limit: int, what: str) -> bytes:
    """As `read_all`, but the bytes as they come."""
    parts: list[bytes] = []
    left = limit + 1
    try:
        while left and (part := response.read(left)):
            parts.append(part)
            left -= len(part)
    except (HTTPError, OSError) as error:
        raise TransientError(f"{what} broke off: {reason(error)}") from error
    finally:
        discard(response)
    if not left:
        raise too_large(what, limit)
    return b"".join(parts)
