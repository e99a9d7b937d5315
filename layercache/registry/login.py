"""Logs in to a registry and out: stores and removes credentials where Docker and podman do, too.

A login is stored in the place that is used for the registry already: the helper that the configuration or a
file names, or the file that has an entry. Otherwise it is stored in a default file. No message holds a
secret.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from layercache.errors import InvalidNameError, NotFoundError, SourceError
from layercache.oci.reference import Reference
from layercache.registry import credential_helper
from layercache.registry.auth_file import OLD_NAME, AuthFile, stands_for
from layercache.registry.credential import DOCKER_HUB, DOCKER_HUB_KEY, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.registry.credential import Credential
    from layercache.registry.settings import RegistrySettings

DOCKERS_NAME = "config.json"
"""In a file of this name Docker Hub has Docker's key, since Docker knows no other."""


def parse_registry(text: str) -> str:
    """Return the registry that a user names, as references call it. Raises `InvalidNameError`."""
    host = stands_for(text.removesuffix("/"))
    try:
        return Reference(host, "any/name", "any").registry
    except InvalidNameError:
        raise InvalidNameError(
            f"not a registry: {text!r}", hint="wanted a host with or without a port: ghcr.io, localhost:5000"
        ) from None


def store(settings: RegistrySettings, registry: str, credential: Credential, default: str) -> str:
    """Store a credential, and return the name of the file or program that has it now.

    ``default``: the file to use if no other place has an entry for the registry. What else is in a file
    stays. Raises `SourceError` if it cannot be read or written.
    """
    if helper := settings.helper_for(registry):
        credential_helper.store(helper, _server(registry), credential, f"the configuration of {registry}")
        return credential_helper.program(helper)
    path = next((path for path, file in _files(settings) if file.mentions(registry)), default)
    file = AuthFile.read(path)
    helper = file.helper(registry) if file else ""
    if helper:
        credential_helper.store(helper, _server(registry), credential, path)

    def change(auths: dict[str, Any]) -> None:
        _remove(auths, registry)
        basic = base64.b64encode(f"{credential.user}:{credential.password}".encode()).decode()
        # With a helper, Docker writes an entry without secrets, by which it knows where it is logged in.
        auths[_key(path, registry)] = {} if helper else {"auth": basic}

    _edit(path, change)
    return credential_helper.program(helper) if helper else path


def forget(settings: RegistrySettings, registry: str) -> list[str]:
    """Remove the credentials of a registry from every place, and return the names of those places.

    Entries for a part of a registry (``ghcr.io/team``) stay. Raises `NotFoundError` if there are none,
    `SourceError` if a place cannot be changed.
    """
    removed, looked_in = [], []
    helpers = {settings.helper_for(registry) or "": f"the configuration of {registry}"}
    for path, file in _files(settings):
        looked_in.append(path)
        helpers.setdefault(file.helper(registry), path)
        if file.has_entry(registry):
            _edit(path, lambda auths: _remove(auths, registry))
            removed.append(path)
    for helper, where in helpers.items():
        if helper:
            name = credential_helper.program(helper)
            looked_in.append(name)
            if credential_helper.ask(helper, _server(registry), where):
                credential_helper.erase(helper, _server(registry), where)
                removed.append(name)
    if not removed:
        raise NotFoundError(f"there is no login for {registry}", looked_in=looked_in)
    return removed


def _files(settings: RegistrySettings) -> Iterator[tuple[str, AuthFile]]:
    """The files that are there and can be read, in the order in which they are used."""
    for path in settings.auth_paths:
        with suppress(UnavailableError):
            if (file := AuthFile.read(path)) is not None:
                yield path, file


def _server(registry: str) -> str:
    return DOCKER_HUB_KEY if registry == DOCKER_HUB else registry


def _key(path: str, registry: str) -> str:
    return _server(registry) if os.path.basename(path) in (DOCKERS_NAME, OLD_NAME) else registry


def _remove(auths: dict[str, Any], registry: str) -> None:
    for key in [key for key in auths if stands_for(key) == registry]:
        del auths[key]


def _edit(path: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Let ``change`` edit the entries of a file, which is created if necessary, and replace it as a whole.

    A link stays a link. Raises `SourceError`.
    """
    target = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with _alone(os.path.dirname(target)):
            document = _read(target)
            change(document if os.path.basename(path) == OLD_NAME else document.setdefault("auths", {}))
            _write(target, json.dumps(document, indent="\t", allow_nan=False).encode())
    except (ValueError, RecursionError):  # in what `AuthFile` does not look at: a number without bounds, say
        raise UnavailableError(path, "is not a valid file of credentials") from None
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror}") from error


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return {}
    document = json.loads(data) if data.strip() else {}
    if not isinstance(document, dict) or not isinstance(document.get("auths") or {}, dict):
        raise UnavailableError(path, "is not a valid file of credentials")
    if "auths" in document and document["auths"] is None:
        del document["auths"]
    return document


def _write(path: str, data: bytes) -> None:
    unfinished = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "wb") as sink:
            with suppress(OSError):  # as root, on behalf of another user: it stays that user's
                owner = os.stat(path)
                os.fchown(file, owner.st_uid, owner.st_gid)
            sink.write(data)
            sink.flush()
            os.fsync(file)
        os.replace(unfinished, path)
    finally:
        with suppress(OSError):
            os.unlink(unfinished)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Hold a lock on a folder inside the block: two logins at once must not lose one of them.

    Only layercache takes it; other tools lock nothing either. It leaves no file behind.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
