"""A source looked at: a registry's host, or an image in a registry, a layout, an archive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from layercache.checkup.check import SECONDS, Answer, Subject, milliseconds
from layercache.errors import ConfigError
from layercache.reference import DEFAULT_REGISTRY
from layercache.sources.credentials import find_credential
from layercache.sources.names import open_source, registry_reference

if TYPE_CHECKING:
    from layercache.sources.client import RegistryClient


def check_source(name: str, client: RegistryClient, *, seconds: float = SECONDS) -> Subject:
    """Whether it answers, as whom we are known there, and whether it has the image, where one is named."""
    subject = Subject(name, "source")
    host = _host(name)
    if host is None:
        try:
            reference = registry_reference(name)
        except ConfigError as error:
            answer = Answer(error.message, "failed", error.hint)
            subject.run("named", lambda: answer)
            return subject
        host = reference.registry if reference else None
        repository = reference.repository if reference else ""
    else:
        repository = ""
    if host is not None:
        subject.run("credentials", lambda: credentials(client, host, repository), seconds)
        if not subject.run("reached", lambda: reach(client, host), seconds):
            return subject
    if host is None or repository:
        subject.run("image", lambda: _image(name, client), seconds)
    return subject


def _host(name: str) -> str | None:
    """The registry, where a name is one and no image: Docker tells them apart by the dot, too."""
    host = name.removesuffix("/")
    first = host.partition(":")[0]
    if "/" in host or ("." not in first and first != "localhost" and not name.endswith("/")):
        return host if host.startswith("[") and "/" not in host else None
    return DEFAULT_REGISTRY if host == "index.docker.io" else host


def credentials(client: RegistryClient, host: str, repository: str) -> Answer:
    """As whom we are known there."""
    found = find_credential(client.settings, host, repository)
    if found is None:
        return Answer("none: anonymous", hint=f"docker login {host}, if it wants to know who you are")
    return Answer(f"of {found.user}" if found.user and not found.identity_token else "an identity token")


def reach(client: RegistryClient, host: str) -> Answer:
    """Whether a registry answers there, whoever we are to it."""
    begun = time.perf_counter()
    client.ping(host)
    return milliseconds(begun)


def _image(name: str, client: RegistryClient) -> Answer:
    begun = time.perf_counter()
    source = open_source(name, lambda: client)
    try:
        root = source.root()
    finally:
        source.close()
    return milliseconds(begun, str(root.digest))
