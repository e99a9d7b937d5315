"""Who a client is: one of the mirror's users, or somebody with credentials for upstreams, or anybody."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import threading
from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.registry.credential import Credential
from layercache.serve.messages import RegistryError
from layercache.serve.remembered import Remembered
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.serve.messages import Headers, Request
    from layercache.serve.settings import ServeSettings

REALM = "layercache"
FAILURE_AGE = 10.0
"""Seconds for which a wrong password is not checked again: a check is slow on purpose."""
CHECKS_AT_ONCE = 2
"""Passwords that are checked at the same time: strangers must not be able to use up the processors."""
CHECK_PATIENCE = 10.0
PASSWORD_MAX = 72
"""Bytes of a password that bcrypt looks at; programs that write hashes ignore further ones."""
REMEMBERED = 10_000

ANONYMOUS = "anonymous"
"""The token of a client without credentials."""

_BCRYPT = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Identity(Value, frozen=True):
    """``user``: one of the mirror's users, "" for anybody. ``credential``: the client's own for upstreams."""

    user: str = ""
    credential: Credential | None = None


ANYBODY = Identity()


class Clients:
    """Identifies clients by their Authorization header. Thread-safe.

    If the mirror has users, only those are let in. Else credentials are the client's own for the upstreams:
    nobody has checked them yet.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._passwords = _read(settings.htpasswd, _BCRYPT, "a bcrypt hash, as htpasswd -B writes it")
        tokens = _read(settings.tokens, _SHA256, "the SHA-256 of a token in hex: printf %s TOKEN | sha256sum")
        self._tokens = {hash_: user for user, hash_ in tokens.items()}
        self.has_users = settings.htpasswd is not None or settings.tokens is not None
        self.users = frozenset((*self._passwords, *tokens))
        self._age = settings.access_age
        # By a hash of the header: the user, "" for nobody.
        self._salt = secrets.token_bytes(32)
        self._seen: Remembered[str] = Remembered(REMEMBERED)
        self._checks = threading.Semaphore(CHECKS_AT_ONCE)

    def identify(self, request: Request) -> Identity:
        """Who sends a request; may take a moment. Raises `RegistryError`: 401, 429."""
        header = request.headers.get("authorization", "")
        if self.has_users:
            if (user := self._user(header)) is None:
                raise self.unauthorized(request, "the mirror's user and password, or a token")
            return Identity(user)
        if not header:
            return ANYBODY
        return Identity(credential=self._credential(request, header))

    def remembered(self, request: Request) -> Identity | None:
        """As `identify`; None if a password has to be checked, which takes a moment."""
        header = request.headers.get("authorization", "")
        if self.has_users:
            user = self._seen.get(self._key(header))
            return Identity(user) if user else None
        return self.identify(request) if header else ANYBODY

    def unauthorized(self, request: Request, wanted: str, scope: str = "") -> RegistryError:
        """The error that asks for credentials, in the way in which clients can give them."""
        return RegistryError(
            401, "UNAUTHORIZED", f"authentication required: {wanted}", headers=self.challenge(request, scope)
        )

    def challenge(self, request: Request, scope: str = "") -> Headers:
        """The header that asks for credentials.

        For optional ones there is only the way of tokens: a client that has none gets a token as well, while
        Docker ends with an error where it is asked for a password that it does not have.
        """
        if self.has_users:
            return [("www-authenticate", f'Basic realm="{REALM}", charset="UTF-8"')]
        host = _HOST.sub("", request.headers.get("host", "")) or "localhost"
        secure = "https" in (request.scheme, request.headers.get("x-forwarded-proto", ""))
        realm = f"{'https' if secure else 'http'}://{host}/token"
        wish = f',scope="{scope}"' if scope else ""
        return [("www-authenticate", f'Bearer realm="{realm}",service="{REALM}"{wish}')]

    def token(self, request: Request) -> str:
        """The bearer token for the credentials of a request: those credentials in another form."""
        header = request.headers.get("authorization", "")
        credential = self._credential(request, header) if header else None
        if credential is None:
            return ANONYMOUS
        return base64.urlsafe_b64encode(f"{credential.user}:{credential.password}".encode()).decode()

    def _user(self, header: str) -> str | None:
        """The mirror's user that a header belongs to; None if none does."""
        if not header:
            return None
        key = self._key(header)
        known = self._seen.get(key)
        if known is None:
            known = self._checked(header)
            self._seen.put(key, known, self._age if known else FAILURE_AGE)
        return known or None

    def _key(self, header: str) -> bytes:
        return hashlib.blake2b(header.encode(), key=self._salt, digest_size=16).digest()

    def _checked(self, header: str) -> str:
        scheme, secret = _parts(header)
        if scheme == "bearer":
            return self._tokens.get(_sha256(secret), "")
        credential = _basic(secret) if scheme == "basic" else None
        if credential is None:
            return ""
        if self._tokens.get(_sha256(credential.password)) == credential.user:
            return credential.user
        return credential.user if self._is_password(credential) else ""

    def _is_password(self, credential: Credential) -> bool:
        import bcrypt

        if not self._passwords:
            return False
        # An unknown user takes as long as a known one: the time must not tell which users there are.
        hash_ = self._passwords.get(credential.user) or next(iter(self._passwords.values()))
        if not self._checks.acquire(timeout=CHECK_PATIENCE):
            raise RegistryError(
                429,
                "TOOMANYREQUESTS",
                "too many passwords to check",
                headers=[("retry-after", f"{CHECK_PATIENCE:.0f}")],
            )
        try:
            right = bcrypt.checkpw(credential.password.encode()[:PASSWORD_MAX], hash_.encode())
        except ValueError:  # a zero byte
            return False
        finally:
            self._checks.release()
        return right and credential.user in self._passwords

    def _credential(self, request: Request, header: str) -> Credential | None:
        """The client's own credentials. An empty user, as some clients send it, is none."""
        scheme, secret = _parts(header)
        if scheme == "bearer" and secret == ANONYMOUS:
            return None
        found = _basic(secret) if scheme in ("basic", "bearer") else None
        if found is None:
            raise self.unauthorized(request, "the Authorization header is not one that this mirror gave")
        return found if found.user else None


_HOST = re.compile(r"[^A-Za-z0-9.:\[\]-]")
"""What no Host header needs: it becomes part of a header of ours."""


def _parts(header: str) -> tuple[str, str]:
    scheme, _, secret = header.partition(" ")
    return scheme.lower(), secret.strip()


def _basic(secret: str) -> Credential | None:
    """User and password (RFC 7617, in UTF-8); None for what is not that."""
    try:
        text = base64.b64decode(secret.translate(_STANDARD), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    return Credential(user, password) if colon and text.isprintable() else None


_STANDARD = str.maketrans("-_", "+/")
"""From the alphabet of tokens to that of Basic."""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: str | None, form: re.Pattern[str], wanted: str) -> dict[str, str]:
    """The hash of each user in a file. Raises `ConfigError`."""
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        user, _, hash_ = line.partition(":")
        if not user or not form.fullmatch(hash_):
            # Nothing of the line is printed: it may be a password.
            raise ConfigError(f"{path}: line {number} is not USER:HASH", hint=f"HASH is {wanted}")
        if user in found:
            raise ConfigError(f"{path}: line {number}: the user {user} is there already")
        found[user] = hash_
    if not found:
        raise ConfigError(f"{path} has no users", hint=f"expected lines USER:HASH; HASH is {wanted}")
    return found
