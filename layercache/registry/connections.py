"""Pools of connections: direct or by a proxy, with TLS that is checked or, where it is wished, is not."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.util import make_headers
from urllib3.util.ssl_ import create_urllib3_context

from layercache.errors import ConfigError
from layercache.registry.inside import Inside, guarded
from layercache.registry.settings import API_HOSTS

if TYPE_CHECKING:
    from layercache.registry.settings import RegistrySettings

CONNECTIONS = 16
"""Connections to one host that are kept for the next request; more may be open at once."""


class _UncheckedConnection(HTTPSConnection):
    """A connection to a host that was listed as insecure on purpose: so no warning is needed."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _UncheckedPool(HTTPSConnectionPool):
    ConnectionCls = _UncheckedConnection


class Connections:
    """Every connection of a process to registries, and to where they redirect. Thread-safe.

    `CONNECTIONS` a host are kept. When all are busy another one is opened: a thread that holds two streams
    must not wait for himself.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._managers: dict[tuple[str, str | None, bool, str | None], urllib3.PoolManager] = {}
        self._chosen: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._inside = _inside(settings)

    def to(self, parts: SplitResult) -> urllib3.PoolManager:
        """The pools that serve a URL. Raises `SourceError` for an address that may not be reached."""
        place = (parts.scheme, parts.netloc)
        if place not in self._chosen:
            self._chosen[place] = self._choose(parts)
        return self._chosen[place]

    def _choose(self, parts: SplitResult) -> urllib3.PoolManager:
        proxy = self._settings.proxy_for(parts.scheme, parts.netloc)
        if proxy is not None and self._inside is not None:
            self._inside.check_proxied(parts.netloc)
        checked = not self._settings.is_insecure(parts.netloc)
        own_ca_file = self._settings.ca_file_for(parts.netloc) if checked else None
        key = (parts.scheme, proxy, checked, own_ca_file)
        if key not in self._managers:
            # Two threads may make one each: the later one counts, of the other a connection is lost.
            self._managers[key] = self._new_manager(*key)
        return self._managers[key]

    def _new_manager(
        self, scheme: str, proxy: str | None, checked: bool, own_ca_file: str | None
    ) -> urllib3.PoolManager:
        options: dict[str, Any] = {"num_pools": CONNECTIONS, "maxsize": CONNECTIONS}
        if scheme == "https":
            options["ssl_context"] = self._ssl_context(own_ca_file) if checked else _unchecked_context()
        manager = urllib3.PoolManager(**options) if proxy is None else _proxied(scheme, proxy, options)
        if not checked:
            manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _UncheckedPool}
        if self._inside is not None and proxy is None:
            pools = manager.pool_classes_by_scheme.items()
            manager.pool_classes_by_scheme = {kind: guarded(pool, self._inside) for kind, pool in pools}
        return manager

    def _ssl_context(self, own_ca_file: str | None) -> ssl.SSLContext:
        context = create_urllib3_context()
        context.load_default_certs()
        for path in (self._settings.ca_file, own_ca_file):
            if path is not None:
                _load(context, os.fspath(path))
        return context

    def close(self) -> None:
        """Close those that are idle."""
        for manager in self._managers.values():
            manager.clear()


def _inside(settings: RegistrySettings) -> Inside | None:
    if settings.inside is None:
        return None
    mirrors = (mirror.partition("/")[0] for each in settings.mirrors.values() for mirror in each)
    named = (*settings.inside, *mirrors)
    return Inside(API_HOSTS.get(host, host) for host in named)


def _unchecked_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"no certificates can be read from {path}: {error}", hint="expected a file of PEM certificates"
        ) from error


def _proxied(scheme: str, proxy: str, options: dict[str, Any]) -> urllib3.PoolManager:
    # Nothing of a proxy that is not a URL gets into the message: it may hold a password.
    try:
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = url.hostname and (f"[{url.hostname}]" if ":" in url.hostname else url.hostname)
        if url.scheme not in ("http", "https") or not host or url.path not in ("", "/") or url.query:
            raise ValueError
        port = f":{url.port}" if url.port else ""
        secret = f"{unquote(url.username)}:{unquote(url.password or '')}" if url.username else None
        headers = make_headers(proxy_basic_auth=secret) if secret else None
        return urllib3.ProxyManager(f"{url.scheme}://{host}{port}", proxy_headers=headers, **options)
    except ValueError:
        raise ConfigError(
            f"the proxy for {scheme}, as {scheme.upper()}_PROXY names it, is not a URL",
            hint="expected http://[USER:PASSWORD@]HOST:PORT, with / ? # @ in a password as %2F %3F %23 %40",
        ) from None
