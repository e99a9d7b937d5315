"""A file of credentials: podman's ``auth.json``, Docker's ``config.json``, or its old ``.dockercfg``.

Entries are read one at a time, so that a broken one does no harm to another registry. No message holds a
value.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from layercache.errors import SourceError
from layercache.oci.descriptor import NOT_VALID
from layercache.registry.credential import (
    DOCKER_HUB,
    DOCKER_HUB_KEY,
    Credential,
    UnavailableError,
    login_command,
)
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Mapping

ValueT = TypeVar("ValueT")

OLD_NAME = ".dockercfg"
"""A file of this name is nothing but entries (Docker before 1.7)."""

_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_VERSIONS = frozenset({"", "v1", "v2"})


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, msgspec.Raw] | None = None
    creds_store: str | None = None
    cred_helpers: dict[str, msgspec.Raw] | None = None


class _Entry(msgspec.Struct, frozen=True):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None


class AuthFile:
    """One file of credentials, as it is now."""

    def __init__(self, path: str, document: _Document) -> None:
        self._path = path
        self._auths = document.auths or {}
        self._helpers = document.cred_helpers or {}
        self._store = document.creds_store or ""

    @classmethod
    def read(cls, path: str) -> AuthFile | None:
        """None for a file that is absent. Raises `UnavailableError` for one that cannot be read."""
        try:
            with open(path, "rb") as file:
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnavailableError(path, f"cannot be read: {error.strerror}") from error
        if not data.strip():
            return cls(path, _Document())
        try:
            if os.path.basename(path) == OLD_NAME:
                return cls(path, _Document(auths=json_decoder(dict[str, msgspec.Raw]).decode(data)))
            return cls(path, json_decoder(_Document).decode(data))
        except NOT_VALID:
            # Without what the parser found, which may be a part of a secret.
            raise UnavailableError(
                path, "is not a valid file of credentials", hint="expected JSON as docker login writes it"
            ) from None

    def helper(self, registry: str, repository: str = "") -> str:
        """The credential helper for a registry: its own, else the store of all; "" for none."""
        for key in _keys(self._helpers, registry, repository):
            found = self._value(self._helpers[key], str, registry)
            if found is not None:
                return found  # "" takes a registry out of the store
        return self._store

    def mentions(self, registry: str) -> bool:
        """Whether the file has an entry, or names a helper, for just this registry."""
        return any(stands_for(key) == registry for key in (*self._auths, *self._helpers))

    def has_entry(self, registry: str) -> bool:
        """Whether ``auths`` has an entry for just this registry."""
        return any(stands_for(key) == registry for key in self._auths)

    def credential(self, registry: str, repository: str = "") -> Credential | None:
        """The entry that is for the longest part of ``registry/repository`` (containers-auth.json(5)).

        Raises `SourceError` where that entry is broken.
        """
        for key in _keys(self._auths, registry, repository):
            entry = self._value(self._auths[key], _Entry, registry)
            if entry and (found := self._in_entry(entry, registry)):
                return found
        return None

    def _in_entry(self, entry: _Entry, registry: str) -> Credential | None:
        user, password = entry.username or "", entry.password or ""
        if entry.auth:
            text = "".join(entry.auth.split())  # base64(1) and YAML break lines
            try:
                decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
            except ValueError:  # also of letters that are not ASCII
                raise self._broken(registry, "its auth is not base64 of UTF-8 text") from None
            user, colon, password = decoded.partition(":")
            if not colon:
                raise self._broken(registry, "its auth is not USER:PASSWORD in base64")
        if entry.identitytoken:
            return Credential(user, identity_token=entry.identitytoken)
        return Credential(user, password.rstrip("\0")) if user else None

    def _value(self, raw: msgspec.Raw, kind: type[ValueT], registry: str) -> ValueT | None:
        try:
            return cast("ValueT | None", json_decoder(cast("Any", kind | None)).decode(raw))
        except NOT_VALID:
            raise self._broken(registry, "it has fields of a wrong type") from None

    def _broken(self, registry: str, why: str) -> SourceError:
        return SourceError(
            f"{self._path}: the entry of {registry} is not valid: {why}",
            hint=f"log in again: {login_command(registry)}",
        )


def _keys(entries: Mapping[str, object], registry: str, repository: str) -> list[str]:
    """The keys that stand for a repository or a part of it: longest first, then the usual name first."""
    usual = DOCKER_HUB_KEY if registry == DOCKER_HUB else registry
    whole = f"{stands_for(registry)}/{repository}".rstrip("/")
    found = [(key, place) for key in entries if f"{whole}/".startswith(f"{(place := stands_for(key))}/")]
    return [key for key, _ in sorted(found, key=lambda each: (-len(each[1]), each[0] != usual))]


def stands_for(key: str) -> str:
    """What a key stands for: a registry, or ``registry/path``. URLs stand for their registry alone."""
    bare = key.removeprefix("https://").removeprefix("http://")
    host, _, path = bare.partition("/")
    host, path = host.lower(), path.strip("/")
    if host in _HUB_HOSTS:
        host = DOCKER_HUB
    return host if bare != key or path in _VERSIONS else f"{host}/{path}"
