"""Keeps connections away from addresses of the inside: those that only this machine, or its network, reaches.

A program that fetches what strangers name, as a mirror does, could otherwise be led to a neighbour: by a
name that resolves to its address, by a redirect, or by a token server that a registry names. So it is the
address that is checked, once for each connection, and that very address is connected to.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from layercache.errors import SourceError
from layercache.registry.settings import host_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from urllib3.connectionpool import HTTPConnectionPool

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: what an IPv6 network calls the IPv4 address in the last four bytes."""

HINT = "if it belongs to the inside, list it: inside in [serve] of the mirror's configuration"


class Inside:
    """The places of the inside that may be contacted anyway.

    ``listed``: hosts (``HOST`` or ``HOST:PORT``), addresses and networks (``10.1.0.0/16``).
    """

    def __init__(self, listed: Iterable[str]) -> None:
        self._hosts: set[str] = set()
        self._networks = []
        for entry in listed:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                self._hosts.add(entry.lower())

    def names(self, host: str, port: int | None) -> bool:
        """Whether a host is listed by its name, so that its address does not matter."""
        name = host.lower().rstrip(".")
        with_port = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        return name in self._hosts or with_port in self._hosts

    def allows(self, address: str) -> bool:
        """Whether an address may be connected to: it is one of the internet, or in a listed network."""
        found = ipaddress.ip_address(address.partition("%")[0])
        meant = _meant(found)
        if any(found in network or meant in network for network in self._networks):
            return True
        return meant.is_global and not meant.is_multicast and not _leads_elsewhere(meant)

    def check_proxied(self, authority: str) -> None:
        """Refuse an address of the inside in a URL that a proxy resolves: a name's address only it knows."""
        host = host_of(authority)
        try:
            allowed = self.allows(host)
        except ValueError:
            return
        if not allowed and not self.names(host, None) and authority.lower() not in self._hosts:
            raise refused(host)


def refused(host: str) -> SourceError:
    """The error for a host at an address of the inside."""
    return SourceError(f"{host} is at an address of the inside, and is not listed", hint=HINT)


def guarded(pool: type[HTTPConnectionPool], inside: Inside) -> type[HTTPConnectionPool]:
    """The pool whose connections are checked before they are made."""
    connection: Any = pool.ConnectionCls
    checked = type(f"Checked{connection.__name__}", (_Checked, connection), {"inside": inside})
    return type(f"Checked{pool.__name__}", (pool,), {"ConnectionCls": checked})


class _Checked(HTTPConnection):
    """A connection that resolves its host itself, and connects to an address that it has checked."""

    inside: Inside

    def _new_conn(self) -> socket.socket:
        host = self._dns_host
        if self.inside.names(host, self.port):
            return super()._new_conn()
        problem: NewConnectionError | ConnectTimeoutError | None = None
        try:
            for address in self._allowed(host):
                # The name that urllib3 resolves. TLS checks the certificate for another one, `host`.
                self._dns_host = address
                try:
                    return super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError) as error:
                    problem = error
        finally:
            self._dns_host = host
        raise problem or refused(host)

    def _allowed(self, host: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(host, self, error) from error
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        return [address for address in addresses if self.inside.allows(address)]


def _meant(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _leads_elsewhere(address: _Address) -> bool:
    """Whether an IPv6 address is that of a tunnel (6to4, Teredo), whose end may be anywhere."""
    return isinstance(address, ipaddress.IPv6Address) and bool(address.sixtofour or address.teredo)
