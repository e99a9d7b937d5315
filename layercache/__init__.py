"""A content-addressed cache of container layers that knows both of their names: digest and diff ID.

    with layercache.open("file:///var/cache/layers") as cache:
        layer = cache.put("layer.tar.gz")
        with cache.get(layer.diff_id).uncompressed() as tar:
            ...

The names below are imported on first use, so that importing layercache takes almost no time.

This package holds the core and the command line; `layercache_backends` holds the stores. CONTRIBUTING.md
has a map of the folders, docs/api.md the public interface.
"""

from __future__ import annotations

from layercache._version import __version__

TYPE_CHECKING = (
    False  # type checkers treat it as typing's; importing typing takes a third of the interpreter's start
)
if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.config.opening import open
    from layercache.errors import (
        BackendError,
        ConfigError,
        DigestMismatchError,
        FormatError,
        IntegrityError,
        InUseError,
        InvalidNameError,
        LayercacheError,
        LimitError,
        NotAFileError,
        NotALayerError,
        NotFoundError,
        SourceError,
    )
    from layercache.events import Event, PassObserver
    from layercache.images.image import Image
    from layercache.index.entry import FileEntry
    from layercache.layer import Layer
    from layercache.oci.digest import DiffID, Digest
    from layercache.registry.settings import RegistrySettings
    from layercache.statistics.counters import Counters

_HOME = {
    "Cache": "cache",
    "open": "config.opening",
    "DiffID": "oci.digest",
    "Digest": "oci.digest",
    "BackendError": "errors",
    "ConfigError": "errors",
    "DigestMismatchError": "errors",
    "FormatError": "errors",
    "IntegrityError": "errors",
    "InUseError": "errors",
    "InvalidNameError": "errors",
    "LayercacheError": "errors",
    "LimitError": "errors",
    "NotAFileError": "errors",
    "NotALayerError": "errors",
    "NotFoundError": "errors",
    "SourceError": "errors",
    "Event": "events",
    "PassObserver": "events",
    "Image": "images.image",
    "FileEntry": "index.entry",
    "Layer": "layer",
    "RegistrySettings": "registry.settings",
    "Counters": "statistics.counters",
}

__all__ = [
    "BackendError",
    "Cache",
    "ConfigError",
    "Counters",
    "DiffID",
    "Digest",
    "DigestMismatchError",
    "Event",
    "FileEntry",
    "FormatError",
    "Image",
    "InUseError",
    "IntegrityError",
    "InvalidNameError",
    "Layer",
    "LayercacheError",
    "LimitError",
    "NotAFileError",
    "NotALayerError",
    "NotFoundError",
    "PassObserver",
    "RegistrySettings",
    "SourceError",
    "__version__",
    "open",
]


def __getattr__(name: str) -> object:
    try:
        module = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'layercache' has no attribute {name!r}") from None
    import importlib

    value: object = getattr(importlib.import_module(f"layercache.{module}"), name)
    globals()[name] = value
    return value
