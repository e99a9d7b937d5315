"""How registries are reached: certificates, proxies, timeouts. Filled in by whoever reads the environment."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class RegistrySettings:
    """What a `RegistryClient` needs to know beforehand; the defaults suit public registries.

    ``docker_config``: path of Docker's ``config.json``, for credentials; None or an absent file: anonymous.
    ``ca_file``: PEM certificates to trust beside those of the system.
    ``plain_http``: registries (``host`` or ``host:port``) that are spoken to without TLS. Loopback hosts
    (localhost, 127.0.0.0/8, ::1) are so by themselves, unless they answer as a TLS server does.
    ``insecure``: registries whose TLS certificate is not checked.
    ``proxies``: URLs by scheme (``http``, ``https``) and, as ``no``, hosts that are reached without one,
    parted by commas, in the form of ``no_proxy``. As `urllib.request.getproxies_environment` gives it.
    ``connect_timeout``, ``read_timeout``: seconds, the latter without any byte. ``retries``: how often a
    failure that may pass is tried anew before it counts.
    """

    docker_config: str | None = None
    ca_file: str | None = None
    plain_http: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    retries: int = 4
    user_agent: str = f"layercache/{__version__}"

    def is_plain_http(self, registry: str) -> bool:
        """Whether the registry is listed as one without TLS."""
        return _is_listed(registry, self.plain_http)

    def is_insecure(self, registry: str) -> bool:
        """Whether the registry's certificate is not to be checked."""
        return _is_listed(registry, self.insecure)

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
    return registry in entries or host_of(registry) in entries


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
