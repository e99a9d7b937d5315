"""The client that all images of all registries share: sessions, schemes, one authenticated request."""

from __future__ import annotations

import re
import threading
import time
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from urllib3.exceptions import ProtocolError

from layercache.backend import PerProcess
from layercache.errors import SourceError
from layercache.registry.auth import Authenticator
from layercache.registry.authorization import Authorization
from layercache.registry.credentials import find_login
from layercache.registry.http import Http, discard, read_all
from layercache.registry.mirrors import Mirrors
from layercache.registry.read_ahead import SLOTS
from layercache.registry.retry import Retries, TransientError
from layercache.registry.settings import API_HOSTS, RegistrySettings, is_loopback
from layercache.registry.status_errors import refusal, wants_tls
from layercache.registry.urls import origin, server_url

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from urllib3.response import BaseHTTPResponse

    from layercache.errors import LayercacheError
    from layercache.oci.reference import Reference
    from layercache.registry.credential import UnavailableError
    from layercache.registry.credentials import FindLogin, Login

COMPLAINT_MAX = 64 << 10

_OWN_PATH = re.compile(r"(?:blobs|manifests)/[A-Za-z0-9_][A-Za-z0-9_.:+-]*")
"""A path as we make it for each blob: put behind the repository's it is a URL, without taking it apart."""


class _Session:
    """Connections, tokens and what was learned about hosts: all that a forked child must not share.

    Tokens are its own; of the rest, those of ``other`` are used, if there is one.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        warn: Callable[[UnavailableError], object],
        find: FindLogin,
        other: _Session | None = None,
    ) -> None:
        self.http: Http = other.http if other else Http(settings)
        self.authenticator = Authenticator(settings, self.http, warn, find)
        self.bases: dict[str, str] = other.bases if other else {}
        self.slots: threading.Semaphore = other.slots if other else threading.Semaphore(SLOTS)


class RegistryClient:
    """Registries, as many as are asked for, through one pool of connections.

    Thread-safe; a forked child makes new connections and asks for new tokens. ``sleep`` is how it
    waits between tries. ``passed_over`` and ``recovered`` are called with mirrors that fail and that answer
    again, see `Mirrors`; the former also with files and helpers of credentials that cannot be asked.
    ``find`` looks up the login for a registry and a repository; by default as the settings say. ``other``
    returns the session of a client whose connections are used.
    """

    def __init__(
        self,
        settings: RegistrySettings | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        passed_over: Callable[[str, LayercacheError], object] | None = None,
        recovered: Callable[[str], object] | None = None,
        find: FindLogin | None = None,
        other: Callable[[], _Session] | None = None,
    ) -> None:
        self.settings = settings or RegistrySettings()
        self.retries = Retries(self.settings.retries, sleep, self.settings.read_timeout)
        self.mirrors = Mirrors(self.settings, self.retries, passed_over, recovered)
        self._passed_over = passed_over
        finds = find or partial(find_login, self.settings)
        self._sessions = PerProcess(
            lambda: _Session(self.settings, self._unavailable, finds, other() if other else None)
        )

    def on_behalf(self, find: FindLogin) -> RegistryClient:
        """A client over the same connections that sends other credentials, and asks no mirror."""
        settings = replace(self.settings, mirrors={})
        return RegistryClient(settings, passed_over=self._passed_over, find=find, other=self._session)

    def request(
        self,
        method: str,
        reference: Reference,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        also: Container[int] = (),
    ) -> BaseHTTPResponse:
        """Send one request below a repository; return an answer of status 2xx, or of one in ``also``.

        ``path`` may also be a URL, or a path from the root, that the registry named in a ``Location`` or
        ``Link``. Each server is sent only our credentials for it, see `Authorization`. Raises
        `NotFoundError` for absence, `MissingPartError`, `TransientError`, else `SourceError`.
        """
        session = self._session()
        below = f"{self._base(session, reference.registry)}/v2/{reference.repository}/"
        start, first = urlsplit(below), f"{below}{path}"
        if not _OWN_PATH.fullmatch(path):
            target = server_url(path, f"{reference.registry} names what", below)
            session.http.check_redirect(start, target)
            first = target.geturl()
        shown = Authorization(self.settings, session.authenticator, method, reference, start)
        url = first
        while True:
            response, at = session.http.follow(method, url, headers, shown.header, body)
            unexplained = 401 in also and "WWW-Authenticate" not in response.headers
            if response.status != 401 or unexplained or not shown.answer(at, response):
                break
            url = url if shown.is_home(at) else at.geturl()
        if 200 <= response.status < 300 or response.status in also:
            return response
        raise refusal(
            response,
            reference,
            first,
            method=method,
            elsewhere=not shown.is_home(at),
            login=shown.login(at),
            secrets=shown.secrets,
        )

    @property
    def slots(self) -> threading.Semaphore:
        """Ranges that all readers of blobs may ask for ahead, see `Ahead`."""
        return self._session().slots

    def without_retries(self) -> RegistryClient:
        """A client that reports each failure at once. It shares connections and tokens with this one."""
        client = copy(self)
        client.retries = Retries(0, time.sleep)
        client.mirrors = copy(self.mirrors)
        client.mirrors.retries = client.retries
        return client

    def ping(self, registry: str) -> None:
        """Check that a registry answers, without logging in (distribution-spec, "end-1").

        Raises `TransientError` if it does not, `SourceError` if it is not a registry.
        """
        session = self._session()
        url = f"{self._base(session, registry)}/v2/"
        response, _ = session.http.follow("GET", url, {})
        discard(response)
        if response.status not in (200, 401, 403):
            raise SourceError(f"{url} answers with status {response.status}: it is not a registry")

    def log_in(self, registry: str, given: Login | None = None) -> Login:
        """Check that a registry accepts our credentials, as ``docker login`` does; return the login.

        ``given`` is checked instead of the stored ones. The login is anonymous if the registry requires none.
        Raises `SourceError`, `TransientError`.
        """
        session = self._session()
        base = self._base(session, registry)
        response, _ = session.http.follow("GET", f"{base}/v2/", {})
        if response.status == 401:
            session.authenticator.answer(base, registry, "", response, None, login=given)
            header, home = session.authenticator.header(registry, ""), origin(urlsplit(base))
            response, _ = session.http.follow(
                "GET", f"{base}/v2/", {}, lambda at: header if origin(at) == home else None
            )
        discard(response)
        login = session.authenticator.login(registry, "")
        if response.status in (401, 403):
            raise login.refused(
                f"{registry} refuses {login.who or 'to answer'}: {response.status}",
                login.advice(registry),
                status=response.status,
            )
        return login

    def close(self) -> None:
        """Close idle connections. The client can still be used, and opens new ones."""
        if (session := self._sessions.take()) is not None:
            session.http.close()

    def _session(self) -> _Session:
        return self._sessions.get()

    def _unavailable(self, error: UnavailableError) -> None:
        if self._passed_over:
            self._passed_over(error.place, error)

    def _base(self, session: _Session, registry: str) -> str:
        """Scheme and host, found out once."""
        base = session.bases.get(registry)
        if base is None:
            base = session.bases[registry] = self._find_base(session, registry)
        return base

    def _find_base(self, session: _Session, registry: str) -> str:
        """A loopback registry is contacted over plain HTTP unless it turns out to want TLS."""
        host = API_HOSTS.get(registry, registry)
        if self.settings.is_plain_http(registry):
            return f"http://{host}"
        if not is_loopback(registry):
            return f"https://{host}"
        return f"https://{host}" if _wants_tls(session.http, host) else f"http://{host}"


def _wants_tls(http: Http, host: str) -> bool:
    """Whether a TLS server listens there: it answers plain HTTP with a complaint, or hangs up."""
    try:
        response = http.send("GET", f"http://{host}/v2/", {})
    except TransientError as error:
        # Hung up, not refused: the way of TLS servers that do not know HTTP.
        if isinstance(error.__cause__, ProtocolError):
            return True
        raise
    if response.status != 400:
        discard(response)
        return False
    return wants_tls(read_all(response, COMPLAINT_MAX, f"the answer of {host}"))
