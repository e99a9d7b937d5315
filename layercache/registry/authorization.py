"""Decides which credentials to send to each server that a request and its redirects reach.

A registry may redirect to another one that requires authentication too. Each server gets only what it has
granted itself, for the repository in the URL, and never the credentials of another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from layercache.registry.credentials import Login
from layercache.registry.settings import API_HOSTS, is_loopback
from layercache.registry.urls import authority, origin

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from urllib3.response import BaseHTTPResponse

    from layercache.oci.reference import Reference
    from layercache.registry.auth import Authenticator
    from layercache.registry.settings import RegistrySettings

CHALLENGES_MAX = 3
"""Maximum servers whose challenge is answered in one request."""

READING = frozenset({"GET", "HEAD"})

_API = re.compile(r"/v2/(.+)/(?:manifests|blobs|tags)/[^/]+")


class _Door(NamedTuple):
    registry: str
    repository: str


class Authorization:
    """The Authorization headers of one request and of its redirects.

    ``start`` is a URL of the registry that is asked. Another server's challenge is answered only if its
    path is that of a registry, and only for a request that changes nothing: a registry must not be able to
    write elsewhere with our credentials. Without TLS no credentials are sent, unless the host is listed as
    ``plain_http`` or is this machine.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        authenticator: Authenticator,
        method: str,
        reference: Reference,
        start: SplitResult,
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._reads = method in READING
        self._own = _Door(reference.registry, reference.repository)
        self._home = origin(start)
        self._left = False
        self._sent: dict[tuple[str, str, int], str | None] = {}
        self._answered: set[tuple[str, str, int]] = set()

    def header(self, url: SplitResult) -> str | None:
        """The Authorization header for a URL."""
        if origin(url) != self._home:
            self._left = True
        door = self._door(url)
        sent = self._sent[origin(url)] = self._authenticator.header(*door) if door else None
        return sent

    def answer(self, url: SplitResult, refusal: BaseHTTPResponse) -> bool:
        """Turn a challenge into a header to send; False where it is left as it is. Raises `SourceError`."""
        place, door = origin(url), self._door(url)
        if door is None or place in self._answered or len(self._answered) == CHALLENGES_MAX:
            return False
        self._answered.add(place)
        base = f"{url.scheme}://{url.netloc}"
        anonymous = Login() if door.registry.startswith("http://") else None
        self._authenticator.answer(base, *door, refusal, self._sent[place], login=anonymous)
        return True

    def is_home(self, url: SplitResult) -> bool:
        return origin(url) == self._home

    def login(self, url: SplitResult) -> Login:
        """The login that is used there."""
        door = self._door(url)
        return self._authenticator.login(*door) if door else Login()

    @property
    def secrets(self) -> list[str]:
        """Every secret that was sent to any server."""
        return [header.partition(" ")[2] for header in self._sent.values() if header]

    def _door(self, url: SplitResult) -> _Door | None:
        """Where to authenticate for a URL; None if no credentials may be sent."""
        if self._left and not self._reads:
            return None
        if self.is_home(url):
            return self._own
        found = _API.fullmatch(url.path)
        if not found:
            return None
        host = authority(url)
        registry = next((name for name, api in API_HOSTS.items() if api == host), host)
        agreed = url.scheme == "https" or self._settings.is_plain_http(registry) or is_loopback(host)
        return _Door(registry if agreed else f"http://{host}", found[1])
