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
    from layercache.cache.image_info import ImageInfo, ImageLayerInfo
    from layercache.cache.layer_info import BlobInfo, FormsInTier, LayerInfo
    from layercache.cache.searching import Searched
    from layercache.config.checker import ConfigProblem
    from layercache.config.inspection import (
        CheckedConfig,
        ConfigFile,
        EffectiveSetting,
        check_config,
        config_files,
        settings,
    )
    from layercache.config.logins import LoggedIn, LoggedOut, login, logout
    from layercache.config.opening import open
    from layercache.config.totals import (
        Totals,
        TotalsOfDay,
        TotalsOfPlace,
        reset_totals,
        totals,
        totals_for_prometheus,
    )
    from layercache.copy import Copied
    from layercache.errors import (
        BackendError,
        ClosedError,
        ConfigError,
        DigestMismatchError,
        ForbiddenError,
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
        StoreFormatError,
    )
    from layercache.events import Event, PassObserver
    from layercache.explain.explanation import Explanation
    from layercache.export.exporter import Exported
    from layercache.files.extract import Extracted
    from layercache.files.layer_files import LayerFiles
    from layercache.files.merged import ImageFile, ImageFiles
    from layercache.images.cached import CachedImage
    from layercache.images.image import Image
    from layercache.index.entry import FileEntry
    from layercache.layer import Forms, Layer, Names
    from layercache.oci.descriptor import Descriptor, Platform
    from layercache.oci.digest import DiffID, Digest
    from layercache.oci.forms import Form
    from layercache.pull import Outcome, Plan, Pulled
    from layercache.registry.settings import RegistrySettings
    from layercache.resolver.upload_queue import UploadProgress
    from layercache.statistics.counters import Counters, PlaceCounters
    from layercache.statistics.places import Place
    from layercache.tiers.inventory import CachedLayer, TierStats
    from layercache.upkeep import Checked, Cleaned, Pruned, Removed, Sample
    from layercache.upkeep.adopt import Adopted
    from layercache.upkeep.index import WrittenIndex
    from layercache.upkeep.upgrade import Upgraded

_HOME = {
    "Cache": "cache",
    "ImageInfo": "cache.image_info",
    "ImageLayerInfo": "cache.image_info",
    "BlobInfo": "cache.layer_info",
    "FormsInTier": "cache.layer_info",
    "LayerInfo": "cache.layer_info",
    "Searched": "cache.searching",
    "ConfigProblem": "config.checker",
    "check_config": "config.inspection",
    "CheckedConfig": "config.inspection",
    "config_files": "config.inspection",
    "ConfigFile": "config.inspection",
    "EffectiveSetting": "config.inspection",
    "settings": "config.inspection",
    "LoggedIn": "config.logins",
    "LoggedOut": "config.logins",
    "login": "config.logins",
    "logout": "config.logins",
    "open": "config.opening",
    "reset_totals": "config.totals",
    "Totals": "config.totals",
    "totals": "config.totals",
    "totals_for_prometheus": "config.totals",
    "TotalsOfDay": "config.totals",
    "TotalsOfPlace": "config.totals",
    "Copied": "copy",
    "BackendError": "errors",
    "ClosedError": "errors",
    "ConfigError": "errors",
    "DigestMismatchError": "errors",
    "ForbiddenError": "errors",
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
    "StoreFormatError": "errors",
    "Event": "events",
    "PassObserver": "events",
    "Explanation": "explain.explanation",
    "Exported": "export.exporter",
    "Extracted": "files.extract",
    "LayerFiles": "files.layer_files",
    "ImageFile": "files.merged",
    "ImageFiles": "files.merged",
    "CachedImage": "images.cached",
    "Image": "images.image",
    "FileEntry": "index.entry",
    "Forms": "layer",
    "Layer": "layer",
    "Names": "layer",
    "Descriptor": "oci.descriptor",
    "Platform": "oci.descriptor",
    "DiffID": "oci.digest",
    "Digest": "oci.digest",
    "Form": "oci.forms",
    "Outcome": "pull",
    "Plan": "pull",
    "Pulled": "pull",
    "RegistrySettings": "registry.settings",
    "UploadProgress": "resolver.upload_queue",
    "Counters": "statistics.counters",
    "PlaceCounters": "statistics.counters",
    "Place": "statistics.places",
    "CachedLayer": "tiers.inventory",
    "TierStats": "tiers.inventory",
    "Checked": "upkeep",
    "Cleaned": "upkeep",
    "Pruned": "upkeep",
    "Removed": "upkeep",
    "Sample": "upkeep",
    "Adopted": "upkeep.adopt",
    "WrittenIndex": "upkeep.index",
    "Upgraded": "upkeep.upgrade",
}

__all__ = [
    "Adopted",
    "BackendError",
    "BlobInfo",
    "Cache",
    "CachedImage",
    "CachedLayer",
    "Checked",
    "CheckedConfig",
    "Cleaned",
    "ClosedError",
    "ConfigError",
    "ConfigFile",
    "ConfigProblem",
    "Copied",
    "Counters",
    "Descriptor",
    "DiffID",
    "Digest",
    "DigestMismatchError",
    "EffectiveSetting",
    "Event",
    "Explanation",
    "Exported",
    "Extracted",
    "FileEntry",
    "ForbiddenError",
    "Form",
    "FormatError",
    "Forms",
    "FormsInTier",
    "Image",
    "ImageFile",
    "ImageFiles",
    "ImageInfo",
    "ImageLayerInfo",
    "InUseError",
    "IntegrityError",
    "InvalidNameError",
    "Layer",
    "LayerFiles",
    "LayerInfo",
    "LayercacheError",
    "LimitError",
    "LoggedIn",
    "LoggedOut",
    "Names",
    "NotAFileError",
    "NotALayerError",
    "NotFoundError",
    "Outcome",
    "PassObserver",
    "Place",
    "PlaceCounters",
    "Plan",
    "Platform",
    "Pruned",
    "Pulled",
    "RegistrySettings",
    "Removed",
    "Sample",
    "Searched",
    "SourceError",
    "StoreFormatError",
    "TierStats",
    "Totals",
    "TotalsOfDay",
    "TotalsOfPlace",
    "Upgraded",
    "UploadProgress",
    "WrittenIndex",
    "__version__",
    "check_config",
    "config_files",
    "login",
    "logout",
    "open",
    "reset_totals",
    "settings",
    "totals",
    "totals_for_prometheus",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    try:
        module = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'layercache' has no attribute {name!r}") from None
    import importlib

    value: object = getattr(importlib.import_module(f"layercache.{module}"), name)
    globals()[name] = value
    return value
