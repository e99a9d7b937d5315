"""HTTP as registries need it: pooled connections, errors in the user's words, redirects without secrets."""

from __future__ import annotations

import socket
import ssl
from http.client import IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import (
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.util import make_headers
from urllib3.util.ssl_ import create_urllib3_context

from layercache.errors import ConfigError, SourceError
from layercache.sources.retry import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3.response import BaseHTTPResponse

    from layercache.sources.settings import RegistrySettings

CONNECTIONS = 16
"""Connections to one host that are kept for the next request; more may be open at once."""

DRAINED_MAX = 64 << 10
"""Bytes that are read to no purpose at most, in order to keep a connection."""

REDIRECTS_MAX = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _UncheckedConnection(HTTPSConnection):
    """A connection to a host that was listed as insecure on purpose: nobody needs to be warned of it."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _UncheckedPool(HTTPSConnectionPool):
    ConnectionCls = _UncheckedConnection


class Http:
    """Sends requests. Thread-safe; not to be used in a forked child of the process that made it.

    Connections are kept, `CONNECTIONS` a host. When all are busy another one is opened: whoever holds
    two streams must not wait for himself.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        self._managers: dict[tuple[str, str | None, bool], urllib3.PoolManager] = {}

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> BaseHTTPResponse:
        """One request, one answer of whatever status, its body not yet read and never decoded.

        Raises `TransientError` where another try may help, else `SourceError`.
        """
        parts = urlsplit(url)
        sent = {"User-Agent": self._settings.user_agent, "Accept-Encoding": "identity", **headers}
        try:
            return self._manager(parts).request(
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
            raise translated(error, parts) from error

    def follow(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None = None
    ) -> tuple[BaseHTTPResponse, bool]:
        """The answer at the end of all redirects, and whether it is another server's.

        ``authorization`` is sent to the URL's own server alone: not to another host or port, nor without
        TLS where the URL has it. Such a redirect, from TLS to none, is refused altogether, unless the
        host is listed as insecure.
        """
        first = urlsplit(url)
        for _ in range(REDIRECTS_MAX):
            parts = urlsplit(url)
            home = _origin(parts) == _origin(first)
            secret = {"Authorization": authorization} if authorization and home else {}
            response = self.send(method, url, {**headers, **secret})
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or not location:
                return response, not home
            discard(response)
            url = urljoin(url, location)
            self._check_redirect(parts, urlsplit(url))
        raise SourceError(f"{first.netloc} redirects more than {REDIRECTS_MAX} times")

    def close(self) -> None:
        for manager in self._managers.values():
            manager.clear()

    def _check_redirect(self, start: SplitResult, target: SplitResult) -> None:
        if target.scheme not in ("http", "https") or not target.hostname:
            raise SourceError(f"{start.netloc} redirects to what is no HTTP server")
        downgraded = start.scheme == "https" and target.scheme == "http"
        if downgraded and not self._settings.is_insecure(start.netloc):
            raise SourceError(
                f"{start.netloc} redirects to {target.netloc} without TLS",
                hint=f"if that is meant, list {start.netloc} as insecure",
            )

    def _manager(self, parts: SplitResult) -> urllib3.PoolManager:
        proxy = self._settings.proxy_for(parts.scheme, parts.netloc)
        checked = not self._settings.is_insecure(parts.netloc)
        key = (parts.scheme, proxy, checked)
        if key not in self._managers:
            # Two threads may make one each: the later one counts, of the other a connection is lost.
            self._managers[key] = self._new_manager(parts.scheme, proxy, checked=checked)
        return self._managers[key]

    def _new_manager(self, scheme: str, proxy: str | None, *, checked: bool) -> urllib3.PoolManager:
        options: dict[str, Any] = {"num_pools": CONNECTIONS, "maxsize": CONNECTIONS}
        if scheme == "https":
            options["ssl_context"] = self._ssl_context(checked=checked)
        if proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            secret = f"{url.username}:{url.password or ''}" if url.username else None
            headers = make_headers(proxy_basic_auth=secret) if secret else None
            bare = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
            try:
                manager = urllib3.ProxyManager(bare, proxy_headers=headers, **options)
            except ValueError as error:
                raise ConfigError(f"not a proxy: {bare}", hint="wanted http://HOST:PORT") from error
        if not checked:
            manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _UncheckedPool}
        return manager

    def _ssl_context(self, *, checked: bool) -> ssl.SSLContext:
        context = create_urllib3_context()
        if not checked:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context.load_default_certs()
        if self._settings.ca_file is not None:
            try:
                context.load_verify_locations(self._settings.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"no certificates can be read from {self._settings.ca_file}: {error}",
                    hint="wanted a file of PEM certificates",
                ) from error
        return context


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
    """A small body, whole; more than ``limit`` bytes are a `SourceError`, a break a `TransientError`."""
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
        raise SourceError(f"{what} is larger than {limit} bytes", hint="that is more than any real one has")
    return b"".join(parts)


def translated(error: Exception, url: SplitResult) -> SourceError:
    """What a failure to get an answer means, in words that name host and port but no path and no secret."""
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    where = f"{url.hostname}:{port}"
    if isinstance(error, ProxyError):
        return TransientError(f"the proxy for {where} failed: {reason(error.original_error)}")
    if isinstance(error, SSLError | ssl.SSLError):
        return _tls_error(error, where)
    if isinstance(error, NameResolutionError):
        cause = error.__cause__
        if not isinstance(cause, socket.gaierror) or cause.errno != socket.EAI_AGAIN:
            return SourceError(f"there is no host {url.hostname}: {reason(error)}")
    if isinstance(error, LocationValueError):
        return SourceError(f"not a URL of a server: {url.scheme}://{url.netloc}")
    if isinstance(error, NewConnectionError):
        return TransientError(f"cannot connect to {where}: {reason(error)}")
    return TransientError(f"no answer from {where}: {reason(error)}")


def _tls_error(error: Exception, where: str) -> SourceError:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return SourceError(
            f"the certificate of {where} is not trusted: {reason(error)}",
            hint="name the file of its authority as ca_file, or list the host as insecure",
        )
    # OpenSSL's words for an answer that is no TLS record, by version.
    if any(word in text for word in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")):
        return SourceError(
            f"{where} does not speak TLS",
            hint="if it is meant to speak plain HTTP, list the host as plain_http",
        )
    return TransientError(f"no TLS connection to {where}: {reason(error)}")


def reason(error: BaseException) -> str:
    """The shortest true words for it: the operating system's, where it has any."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if isinstance(error, IncompleteRead | RemoteDisconnected):
            return "the connection was closed"
        inner = next((each for each in error.args if isinstance(each, BaseException)), error.__cause__)
    # urllib3 puts the connection's repr in front.
    return str(error).rpartition("): ")[2] or type(error).__name__


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)
