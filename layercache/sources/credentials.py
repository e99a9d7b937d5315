"""Who we are to a registry: Docker's ``config.json`` and its credential helpers.

The file is read each time, so that a ``docker login`` counts at once. Nothing here prints a secret.
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from layercache.descriptor import NOT_VALID
from layercache.errors import SourceError
from layercache.sources.settings import host_of

if TYPE_CHECKING:
    from layercache.sources.settings import RegistrySettings

DOCKER_HUB = "docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What Docker calls Docker Hub in its configuration, since the registry protocol's first version."""

HELPER_SECONDS = 60
NOT_FOUND = "credentials not found in native keychain"
"""docker-credential-helpers, credentials/error.go: the one answer of a helper that is no failure."""

IDENTITY_USER = "<token>"
"""A user of this name says that the secret is an identity token (docker-credential-helpers, README)."""


@dataclass(frozen=True)
class Credential:
    """A user and password, or an identity token: an OAuth 2 refresh token."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class _Auth(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _Auth] = {}
    creds_store: str = ""
    cred_helpers: dict[str, str] = {}


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    username: str
    secret: str


def find_credential(settings: RegistrySettings, registry: str, repository: str = "") -> Credential | None:
    """Who we are to a registry; None: we are anonymous there.

    The helper that the settings name is asked first. Then Docker's configuration counts: a helper
    (``credHelpers``, else ``credsStore``), then ``auths``, where the longest prefix of
    ``registry/repository`` counts, as in containers-auth.json(5). Raises `SourceError` for a file that
    cannot be read and a helper that is missing or fails.
    """
    key = DOCKER_HUB_KEY if registry == DOCKER_HUB else registry
    named = settings.helper_for(registry)
    if named and (found := _ask(named, key, f"the configuration of {registry}")):
        return found
    docker_config = settings.docker_config
    config = _read(docker_config) if docker_config is not None else None
    if docker_config is None or config is None:
        return None
    helper = config.cred_helpers.get(key) or config.cred_helpers.get(registry) or config.creds_store
    found = _ask(helper, key, docker_config) if helper else None
    return found or _from_auths(config.auths, key, registry, repository, docker_config)


def _read(path: str) -> _Config | None:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"cannot read Docker's configuration {path}: {error.strerror}") from error
    try:
        # A null stands for an absent field, as other programs write it.
        fields: dict[str, Any] = msgspec.json.decode(data or b"{}", type=dict[str, Any])
        return msgspec.convert({name: value for name, value in fields.items() if value is not None}, _Config)
    except NOT_VALID as error:
        # msgspec names the place, never the value: no secret gets into the message.
        raise SourceError(f"Docker's configuration {path} is not valid: {error}") from error


def _from_auths(
    auths: dict[str, _Auth], key: str, registry: str, repository: str, path: str
) -> Credential | None:
    parts = repository.split("/") if repository else []
    names = ["/".join([registry, *parts[:count]]) for count in range(len(parts), 0, -1)]
    entry = next((auths[name] for name in (*names, key, registry) if name in auths), None)
    if entry is None:
        # Old files have URLs as keys: https://registry.example/v1/
        entry = next((auth for name, auth in auths.items() if _host(name) == registry), None)
    if entry is None:
        return None
    user, password = entry.username, entry.password
    if entry.auth:
        try:
            user, colon, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise SourceError(
                f"Docker's configuration {path} has no valid user and password for {registry}",
                hint=f"log in anew: {login_command(registry)}",
            ) from None
    if entry.identitytoken:
        return Credential(user, identity_token=entry.identitytoken)
    return Credential(user, password.rstrip("\0")) if user else None


def _host(key: str) -> str:
    return key.partition("://")[2].partition("/")[0] if "://" in key else ""


def _ask(helper: str, key: str, where: str) -> Credential | None:
    """The protocol of docker-credential-helpers: ``get``, the server on standard input, JSON comes out."""
    program = f"docker-credential-{helper}"
    hint = f"{where} names it: install the program, or name no helper there"
    if os.path.basename(program) != program:
        raise SourceError(f"not a credential helper: {helper!r}", hint=hint)
    try:
        done = subprocess.run(  # noqa: S603 # the user's own configuration names the program
            [program, "get"], input=key.encode(), capture_output=True, check=False, timeout=HELPER_SECONDS
        )
    except OSError as error:
        raise SourceError(
            f"cannot run the credential helper {program}: {error.strerror}", hint=hint
        ) from error
    except subprocess.TimeoutExpired:
        # Without a cause: the exception holds what the helper has printed so far.
        message = f"the credential helper {program} gave no answer within {HELPER_SECONDS} seconds"
        raise SourceError(message, hint=hint) from None
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()
        if said == NOT_FOUND:
            return None
        raise SourceError(
            f"the credential helper {program} failed for {host_of(_host(key) or key)}"
            f" with exit status {done.returncode}",
            hint=f"see what it says: echo {key} | {program} get",
        )
    try:
        answer = msgspec.json.decode(done.stdout, type=_Answer)
    except NOT_VALID:
        raise SourceError(f"the credential helper {program} gave no valid answer", hint=hint) from None
    if answer.username == IDENTITY_USER:
        return Credential(identity_token=answer.secret)
    return Credential(answer.username, answer.secret) if answer.username else None


def login_command(registry: str) -> str:
    """What a person types to become known to a registry."""
    return "docker login" if registry == DOCKER_HUB else f"docker login {registry}"
