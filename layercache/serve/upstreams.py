"""Which registry a repository of the mirror stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError
from layercache.oci.reference import Reference
from layercache.serve.messages import RegistryError

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.serve.messages import Request
    from layercache.serve.routes import Route
    from layercache.serve.settings import ServeSettings


class Upstreams:
    """Maps repositories of the mirror to those of upstreams.

    The registry is that of the query's ``ns``, as containerd sends it, else the first component of the name,
    if it looks like a registry's host, else the default one.
    """

    def __init__(self, cache: Cache, settings: ServeSettings) -> None:
        self._cache = cache
        self._settings = settings

    def reference(self, request: Request, route: Route) -> Reference:
        """The upstream's reference of a request for a manifest; for a blob, the digest is the blob's."""
        registry = request.query.get("ns") or self._settings.default_upstream
        mark = "@" if ":" in route.reference else ":"
        first, slash, _ = route.name.partition("/")
        whole = route.name if slash and ("." in first or ":" in first or first == "localhost") else ""
        try:
            return Reference.parse(f"{whole or f'{registry}/{route.name}'}{mark}{route.reference}")
        except InvalidNameError as error:
            raise RegistryError(400, "NAME_INVALID", error.message) from error
