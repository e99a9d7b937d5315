"""Opens the backend of a URL: one that ships with layercache, or a plug-in's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.backend.url import BackendURL
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from layercache.backend.interface import Backend

INTERFACE = 1
"""The version of this interface. A plug-in may declare as ``INTERFACE``, next to its factory, which version
it was written for; a newer one is refused when it is loaded.
"""


ENTRY_POINT_GROUP = "layercache.backends"


IN_THE_BOX: Mapping[str, str] = {
    "az": "layercache_backends.obspec:from_url",
    "azure": "layercache_backends.obspec:from_url",
    "fsspec+": "layercache_backends.fsspec:from_url",
    "file": "layercache_backends.local:from_url",
    "gcs": "layercache_backends.gcs:from_url",
    "gs": "layercache_backends.gcs:from_url",
    "memory": "layercache_backends.memory:from_url",
    "s3": "layercache_backends.s3:from_url",
}
"""Scheme to factory of the backends that ship with layercache; avoids the cost of importlib.metadata.

A name that ends in "+" stands for all schemes with that prefix (``fsspec+sftp``).
"""


def package_of(backend: Backend) -> str:
    """Return the package of a backend: if it is in the box, that of its factory in `IN_THE_BOX`."""
    return ".".join(type(backend).__module__.split(".")[:2])


def open_backend(url: str | BackendURL, *, also: Iterable[str] = ()) -> Backend:
    """Open the backend of a URL. ``also``: schemes that the caller handles, for messages.

    Raises `ConfigError`, also if a plug-in cannot be loaded or returns no backend, and `BackendError`.
    """
    parsed = BackendURL.parse(url) if isinstance(url, str) else url
    family, plus, rest = parsed.scheme.partition("+")
    names = (parsed.scheme, f"{family}+") if plus and rest else (parsed.scheme,)
    if target := next((IN_THE_BOX[name] for name in names if name in IN_THE_BOX), None):
        import importlib

        module, _, name = target.partition(":")
        backend: Backend = getattr(importlib.import_module(module), name)(parsed)
        return backend
    from layercache.backend import plugins

    installed = plugins.installed(ENTRY_POINT_GROUP)
    for entry in installed:
        if entry.name in names:
            factory = plugins.factory_of(entry, parsed.scheme, INTERFACE)
            plugin: Backend = plugins.made(entry, partial(factory, parsed), parsed.place)
            return plugin
    known = sorted({*IN_THE_BOX, *also, *(entry.name for entry in installed)})
    raise ConfigError(
        f"unknown scheme {parsed.scheme}://", hint=f"known schemes: {', '.join(known)}; others need a plug-in"
    )
