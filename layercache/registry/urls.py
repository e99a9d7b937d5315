"""URLs that other people name: redirects, token servers. What is not well formed is an error, not a crash."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import SplitResult, urljoin, urlsplit

from layercache.errors import SourceError

_PORTS = {"http": 80, "https": 443}


def server_url(text: str, what: str, base: str = "") -> SplitResult:
    """The URL of an HTTP server, perhaps relative to ``base``; `SourceError` if it is not one.

    A user and password in it are left out, since they would be printed in messages.
    """
    try:
        url = urlsplit(urljoin(base, text))
        if url.scheme in _PORTS and origin(url)[1]:
            return url._replace(netloc=url.netloc.rpartition("@")[2])
    except ValueError:
        pass  # a port that is not a number, or a broken IPv6 literal
    raise SourceError(f"{what} is not a URL of an HTTP server")


def place(url: SplitResult) -> str:
    """Host and port, for messages: without path, user and password."""
    _, host, port = origin(url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def authority(url: SplitResult) -> str:
    """Host and port as references name a registry: the scheme's own port is left out."""
    return place(url).removesuffix(f":{_PORTS[url.scheme]}")


def origin(url: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port: what two URLs share that lead to one server."""
    host, port = _host_and_port(url.netloc)
    return url.scheme, host, port or _PORTS[url.scheme]


@lru_cache(maxsize=64)
def _host_and_port(netloc: str) -> tuple[str, int | None]:
    """Taken apart once: each request asks several times, and there are few servers."""
    parts = SplitResult("", netloc, "", "", "")
    return parts.hostname or "", parts.port
