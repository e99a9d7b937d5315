"""Checks of a source: the host of a registry, or an image in a registry, a layout or an archive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from layercache.doctor.check import SECONDS, Answer, Examination, Subject, milliseconds
from layercache.errors import ConfigError
from layercache.oci.reference import DEFAULT_REGISTRY, DEFAULT_TAG, Reference, without_user
from layercache.registry.credential import login_command
from layercache.registry.credentials import find_login
from layercache.sources.names import registry_reference
from layercache.sources.opening import open_source

if TYPE_CHECKING:
    from layercache.registry.client import RegistryClient


def check_source(name: str, client: RegistryClient, *, seconds: float = SECONDS) -> Subject:
    """Check that a source responds, which credentials apply, and that it has the image, if one is named."""
    examination = Examination(without_user(name), "source")
    host = _host(name)
    try:
        reference = registry_reference(name) if host is None else Reference(host, "any/name", DEFAULT_TAG)
    except ConfigError as error:
        answer = Answer(error.message, "failed", error.hint)
        examination.run("named", lambda: answer)
        return examination.subject()
    repository = reference.repository if reference and host is None else ""
    host = reference.registry if reference else None
    if host is not None:
        examination.run("credentials", lambda: credentials(client, host, repository), seconds)
        if not examination.run("reached", lambda: reach(client, host), seconds):
            return examination.subject()
    if host is not None and not repository:
        examination.run("accepted", lambda: _accepted(client, host), seconds)
    else:
        examination.run("image", lambda: _image(name, client), seconds)
    return examination.subject()


def _host(name: str) -> str | None:
    """Return the registry if a name is a host and not an image. Docker also decides by the dot."""
    host = name.removesuffix("/")
    first = host.partition(":")[0]
    if "/" in host or ("." not in first and first != "localhost" and not name.endswith("/")):
        return host if host.startswith("[") and "/" not in host else None
    return DEFAULT_REGISTRY if host == "index.docker.io" else host


def credentials(client: RegistryClient, host: str, repository: str) -> Answer:
    """Find the credentials for a registry, and the file or helper that supplied them."""
    login = find_login(client.settings, host, repository)
    if login.credential:
        detail, hint = f"{login.credential}, from {login.looked_in[-1]}", ""
    else:
        places = ", ".join(login.looked_in) or "no file"
        detail, hint = (
            f"none: anonymous (looked in {places})",
            f"if the registry requires a login: {login_command(host)}",
        )
    if problem := next(iter(login.problems), None):
        return Answer(f"{detail}; {problem.message}", "warning", problem.hint)
    return Answer(detail, hint=hint)


def reach(client: RegistryClient, host: str) -> Answer:
    """Check that a registry responds at this host, without credentials."""
    begun = time.perf_counter()
    client.ping(host)
    return milliseconds(begun)


def _accepted(client: RegistryClient, host: str) -> Answer:
    begun = time.perf_counter()
    login = client.log_in(host)
    return milliseconds(begun, str(login.credential) if login.credential else "anonymous")


def _image(name: str, client: RegistryClient) -> Answer:
    begun = time.perf_counter()
    source = open_source(name, lambda: client)
    try:
        root = source.root()
    finally:
        source.close()
    return milliseconds(begun, str(root.digest))
