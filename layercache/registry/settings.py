"""How to reach registries: certificates, proxies, timeouts. The configuration fills them in."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from layercache._version import __version__
from layercache.oci.descriptor import DOCUMENT_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    FileName = str | os.PathLike[str]

ValueT = TypeVar("ValueT")

API_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Registries whose API is served by a host of another name."""


@dataclass(frozen=True)
class RegistrySettings:
    """What a `RegistryClient` needs to know beforehand; the defaults suit public registries.

    ``auth_files``: paths of files of credentials (``auth.json``, ``config.json``, ``.dockercfg``), which are
    read in order until one has an entry for a registry.
    ``ca_file``: PEM certificates to trust in addition to those of the system.
    ``plain_http``: registries (``host`` or ``host:port``) that are contacted without TLS. Loopback hosts
    (localhost, 127.0.0.0/8, ::1) are so by themselves, unless they answer as a TLS server does.
    ``insecure``: registries whose TLS certificate is not checked.
    ``ca_files``, ``mirrors``, ``credential_helpers``: by registry, PEM certificates to trust there too;
    registries (``host[:port][/prefix]``) that are asked for its images first, in order; NAME of the program
    ``docker-credential-NAME`` that is asked for its credentials before ``auth_files``.
    ``proxies``: URLs by scheme (``http``, ``https``) and, as ``no``, hosts that are reached without one,
    separated by commas, in the form of ``no_proxy``. As `urllib.request.getproxies_environment` gives it.
    ``inside``: the hosts and networks of the inside that may be reached, see `layercache.registry.inside`;
    None: all. Mirrors may be.
    ``connect_timeout``, ``read_timeout``: seconds, the latter without any byte. ``retries``: how often a
    transient failure is retried. ``max_document_size``: bytes of a manifest or an
    index at most.
    """

    auth_files: tuple[FileName, ...] = ()
    ca_file: FileName | None = None
    plain_http: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    ca_files: Mapping[str, FileName] = field(default_factory=dict)
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    credential_helpers: Mapping[str, str] = field(default_factory=dict)
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    inside: tuple[str, ...] | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    retries: int = 4
    max_document_size: int = DOCUMENT_MAX
    user_agent: str = f"layercache/{__version__}"

    def is_plain_http(self, registry: str) -> bool:
        """Whether the registry is listed as one without TLS."""
        return _is_listed(registry, self.plain_http)

    def is_insecure(self, registry: str) -> bool:
        """Whether the registry's certificate is not to be checked."""
        return _is_listed(registry, self.insecure)

    @property
    def auth_paths(self) -> list[str]:
        """The names of ``auth_files``."""
        return [os.fspath(each) for each in self.auth_files]

    def ca_file_for(self, registry: str) -> str | None:
        """The registry's own certificates, which are trusted in addition to those of ``ca_file``."""
        found = _value_for(registry, self.ca_files)
        return None if found is None else os.fspath(found)

    def mirrors_of(self, registry: str) -> tuple[str, ...]:
        """What is asked before the registry, in order."""
        return _value_for(registry, self.mirrors) or ()

    def helper_for(self, registry: str) -> str | None:
        """The credentials helper that is set for the registry."""
        return _value_for(registry, self.credential_helpers)

    def proxy_for(self, scheme: str, host: str) -> str | None:
        """The URL of the proxy for a URL of this scheme and host; None: reach it directly."""
        if is_loopback(host) or _is_excepted(host, self.proxies.get("no", "")):
            return None
        return self.proxies.get(scheme) or None


def is_loopback(registry: str) -> bool:
    """Whether a host, with or without a port, is this machine, by its name alone."""
    name = host_of(registry)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(registry: str) -> str:
    """A registry's host without its port and an IPv6 literal's brackets."""
    if registry.startswith("["):
        return registry[1:].partition("]")[0]
    return registry.partition(":")[0].lower()


def _is_listed(registry: str, entries: tuple[str, ...]) -> bool:
    return any(name in entries for name in _names(registry))


def _value_for(registry: str, entries: Mapping[str, ValueT]) -> ValueT | None:
    return next((entries[name] for name in _names(registry) if name in entries), None) if entries else None


def _names(registry: str) -> Iterator[str]:
    """What a registry may be listed as: with its port, or without for all ports; as references call it."""
    yield registry
    yield host_of(registry)
    yield from (name for name, host in API_HOSTS.items() if host == host_of(registry))


def _is_excepted(host: str, exceptions: str) -> bool:
    """As curl and Go read ``no_proxy``: names with their subdomains, addresses, networks, or ``*``."""
    name = host_of(host)
    for entry in exceptions.replace(",", " ").split():
        if entry == "*" or entry == host:
            return True
        wanted = host_of(entry) if entry.count(":") < 2 else entry
        if name == wanted.lstrip(".") or name.endswith(f".{wanted.lstrip('.')}"):
            return True
        try:
            if ipaddress.ip_address(name) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
