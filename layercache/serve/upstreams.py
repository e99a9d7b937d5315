"""Which registry a repository of the mirror stands for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError
from layercache.images.hosted import HOSTED
from layercache.oci.digest import Digest
from layercache.oci.reference import Reference
from layercache.serve.messages import RegistryError

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.serve.messages import Request
    from layercache.serve.push.names import HostedNames
    from layercache.serve.routes import Route
    from layercache.serve.settings import ServeSettings

REMEMBERED = 8192
"""References that are not parsed again: those that were asked for last."""

HOST_MAX = 260
"""Characters of a host's name (RFC 1035: 253) with a port."""

_HOST = re.compile(r"localhost|[^/]*[.:][^/]*")


class Upstreams:
    """Maps repositories of the mirror to those of upstreams. Thread-safe.

    The registry is that of the query's ``ns``, as containerd sends it, else the first component of the name,
    if it looks like a registry's host, else the default one. A path that begins with the host that ``ns``
    names, too, names it once: containerd sends that where its hosts file has ``override_path``. What ``ns``
    says is a key to look up: whether that registry may be asked is decided elsewhere.
    """

    def __init__(self, cache: Cache, settings: ServeSettings, hosted: HostedNames | None = None) -> None:
        self._cache = cache
        self._default = settings.default_upstream
        self._hosted = hosted
        self._parsed = lru_cache(REMEMBERED)(self._parse)

    def reference(self, request: Request, route: Route) -> Reference:
        """The upstream's reference of a request for a manifest; for a blob, the digest is the blob's.

        The registry of a hosted repository is `HOSTED`. Raises `RegistryError` 400.
        """
        namespace = request.query.get("ns", "")
        if self._hosted is not None and self._hosted.is_hosted(request, route.name):
            namespace = HOSTED
        return self._parsed(namespace, route.name, route.reference)

    def _parse(self, ns: str, name: str, selector: str) -> Reference:
        first, slash, _ = name.partition("/")
        if ns and (len(ns) > HOST_MAX or not _HOST.fullmatch(ns)):
            raise RegistryError(400, "NAME_INVALID", f"not a registry: ns={ns[:100]}")
        if ns:
            whole = name if slash and first == ns else f"{ns}/{name}"
        else:
            whole = name if slash and _HOST.fullmatch(first) else f"{self._default}/{name}"
        is_digest = ":" in selector
        try:
            named = Reference.parse(f"{whole}:{'latest' if is_digest else selector}")
        except InvalidNameError as error:
            raise RegistryError(400, "NAME_INVALID", error.message) from error
        if not is_digest:
            return named
        try:
            return Reference(named.registry, named.repository, digest=Digest(selector))
        except InvalidNameError as error:
            raise RegistryError(400, "DIGEST_INVALID", error.message) from error
