"""Authentication at registries: challenges, passwords, tokens.

As in the Docker Registry v2 authentication specification ("token" and "oauth") and RFC 9110, 11.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from layercache.errors import SourceError
from layercache.oci.descriptor import NOT_VALID
from layercache.registry import hints
from layercache.registry.credential import login_command
from layercache.registry.credentials import Login
from layercache.registry.http import discard, read_all
from layercache.registry.retry import TransientError, retry_after
from layercache.registry.status_errors import quoted, reason_in
from layercache.registry.urls import origin, place, server_url
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from urllib3.response import BaseHTTPResponse

    from layercache.registry.credential import UnavailableError
    from layercache.registry.credentials import FindLogin
    from layercache.registry.http import Http
    from layercache.registry.settings import RegistrySettings

TOKEN_SIZE_MAX = 1 << 20
LIFETIME_MIN = 60.0
"""Minimum lifetime of a token in seconds, also if the server states none (token spec., "expires_in")."""

GRANTS_MAX = 10_000
"""Repositories whose tokens are kept. At one more all are forgotten, and asked for again."""

SPENT_EARLY = 0.1
"""The part of a token's life at whose end it is not used any more: the request takes time too."""

CLIENT_ID = "layercache"

_SENDABLE = re.compile(r"[!-~]+")
"""A token that an Authorization header can hold: visible ASCII, no space, no line break."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 # RFC 9110's word for a word
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$)))?")


@dataclass(frozen=True)
class Challenge:
    """One way to authenticate that a server offers: its scheme in lower case, and parameters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Every challenge of all WWW-Authenticate headers (RFC 9110, 11.6.1: several may share one)."""
    return [challenge for value in values for challenge in _challenges(value)]


def _challenges(value: str) -> Iterator[Challenge]:
    current: Challenge | None = None
    position = 0
    while position < len(value):
        parameter = _PARAMETER.match(value, position) if current else None
        if current and parameter:
            quoted = parameter[2]
            text = parameter[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            current.parameters.setdefault(parameter[1].lower(), text)
            position = parameter.end()
            continue
        scheme = _SCHEME.match(value, position)
        if scheme is None:
            break
        if current:
            yield current
        current = Challenge(scheme[1].lower())
        position = scheme.end()
    if current:
        yield current


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


class _Grant:
    """What opens one repository: an Authorization header, and until when it does."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.challenge: Challenge | None = None
        self.header: str | None = None
        self.expires = 0.0
        self.given: Login | None = None
        self.login = Login()


class Authenticator:
    """Answers challenges, and keeps what was granted for each repository. Thread-safe.

    Credentials are looked up only when a registry asks for them, and are sent to it and to the token
    server that it names, and nowhere else. ``find`` looks them up; ``warn`` is called once for each place
    that could not be read.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        http: Http,
        warn: Callable[[UnavailableError], object],
        find: FindLogin,
    ) -> None:
        self._settings = settings
        self._http = http
        self._warn = warn
        self._find = find
        self._warned: set[str] = set()
        self._grants: dict[tuple[str, str], _Grant] = {}

    def header(self, registry: str, repository: str) -> str | None:
        """The Authorization header to send; None where none was ever asked for. May fetch a new token."""
        grant = self._grants.get((registry, repository))
        if grant is None:
            return None
        with grant.lock:
            if grant.challenge is not None and time.monotonic() >= grant.expires:
                self._renew(grant, registry, repository)
            return grant.header

    def login(self, registry: str, repository: str) -> Login:
        """The login that is used there; anonymous if none was needed."""
        grant = self._grants.get((registry, repository))
        return grant.login if grant else Login()

    def answer(
        self,
        base: str,
        registry: str,
        repository: str,
        refusal: BaseHTTPResponse,
        sent: str | None,
        *,
        login: Login | None = None,
    ) -> None:
        """Find the header that may turn a 401 into what was asked for; ``sent`` is the one that did not.

        ``base`` is the registry's own scheme and host. ``login`` is used instead of the one that is stored.
        Raises `SourceError`.
        """
        challenges = parse_challenges(refusal.headers.getlist("WWW-Authenticate"))
        discard(refusal)
        grant = self._grants.setdefault((registry, repository), _Grant())
        if len(self._grants) > GRANTS_MAX:  # a mirror may be asked for any repository, for months
            self._grants.clear()
        with grant.lock:
            if grant.header is None or grant.header == sent:
                grant.challenge = self._chosen(challenges, base, registry)
                grant.given = login
                self._renew(grant, registry, repository)

    def _chosen(self, challenges: list[Challenge], base: str, registry: str) -> Challenge:
        for challenge in challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                self._check_realm(challenge.parameters["realm"], base, registry)
                return challenge
        for challenge in challenges:
            if challenge.scheme == "basic":
                return challenge
        offered = ", ".join(challenge.scheme for challenge in challenges) or "none"
        raise SourceError(f"{registry} requires an unsupported authentication scheme: {offered}")

    def _check_realm(self, realm: str, base: str, registry: str) -> None:
        target = server_url(realm, f"the token server that {registry} names")
        if base.startswith("https:") and target.scheme == "http" and not self._settings.is_insecure(registry):
            raise SourceError(
                f"{registry} names a token server without TLS: {place(target)}",
                hint=hints.downgrade(registry),
            )

    def _renew(self, grant: _Grant, registry: str, repository: str) -> None:
        assert grant.challenge is not None
        grant.header = None
        login = grant.given or self._find(registry, repository)
        grant.login = login
        for problem in login.problems:
            if problem.message not in self._warned:
                self._warned.add(problem.message)
                self._warn(problem)
        if grant.challenge.scheme == "basic":
            if not login.credential or not login.credential.user or login.credential.identity_token:
                raise login.refused(f"{registry} requires a user and password", login_command(registry))
            grant.header, grant.expires = login.credential.basic, float("inf")
            return
        asked = time.monotonic()
        answer = self._fetch_token(grant.challenge, login, registry, repository)
        lifetime = max(answer.expires_in or 0.0, LIFETIME_MIN)
        grant.header = f"Bearer {answer.token or answer.access_token}"
        grant.expires = asked + lifetime * (1 - SPENT_EARLY)

    def _fetch_token(
        self, challenge: Challenge, login: Login, registry: str, repository: str
    ) -> _TokenAnswer:
        credential = login.credential
        realm = urlsplit(challenge.parameters["realm"])
        scope = challenge.parameters.get("scope") or (f"repository:{repository}:pull" if repository else "")
        query = [(name, challenge.parameters[name]) for name in ("service",) if name in challenge.parameters]
        if credential is not None and credential.identity_token:
            form = [
                *query,
                *([("scope", scope)] if scope else []),
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT_ID),
            ]
            form.append(("refresh_token", credential.identity_token))
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
            response = self._http.send("POST", realm.geturl(), headers, urlencode(form).encode())
        else:
            query += [("scope", each) for each in scope.split()]
            url = realm._replace(query=urlencode([*parse_qsl(realm.query), *query])).geturl()
            basic = credential.basic if credential else None
            # Our password is not sent where the token server redirects to.
            response, _ = self._http.follow(
                "GET",
                url,
                {"Accept": "application/json"},
                lambda at: basic if origin(at) == origin(realm) else None,
            )
        return _token(response, place(realm), login, registry, repository)


def _token(
    response: BaseHTTPResponse, server: str, login: Login, registry: str, repository: str
) -> _TokenAnswer:
    what = f"the token server {server}"
    body = read_all(response, TOKEN_SIZE_MAX, f"the answer of {what}")
    if response.status == 429 or response.status >= 500:
        raise TransientError(
            f"{what} answered {response.status}",
            retry_after=retry_after(response.headers),
            limited=response.status == 429,
        )
    if response.status != 200:
        name = f"{registry}/{repository}" if repository else registry
        whom = f" to {login.who}" if login.credential else ""
        words = quoted(reason_in(body), login.secrets)
        raise login.refused(
            f"{what} issued no token for {name}{whom}: it answered {response.status} {words}".strip(),
            login.advice(registry),
        )
    try:
        answer: _TokenAnswer = json_decoder(_TokenAnswer, strict=False).decode(body)
    except NOT_VALID:
        raise SourceError(f"{what} answered with something that is not a token") from None
    if not (answer.token or answer.access_token):
        raise SourceError(f"{what} answered without a token")
    if not _SENDABLE.fullmatch(answer.token or answer.access_token or ""):
        # http.client would raise an error that quotes it.
        raise SourceError(f"{what} answered with a token that no header can hold")
    return answer
