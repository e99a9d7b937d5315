"""Backends of plug-ins: found through entry points, loaded, and named in errors."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from layercache.backend.installation import upgrade_hint
from layercache.errors import BackendError, ConfigError, is_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

STATED = "INTERFACE"
"""The name under which a plug-in's module declares the version of the interface that it supports."""

METHODS = ("open", "create", "stat", "scan", "delete", "close")


def installed(group: str) -> list[EntryPoint]:
    """Yield every entry point of a group of installed packages, in the order of the path.

    Skips packages whose metadata cannot be read.
    """
    found: list[EntryPoint] = []
    for package in metadata.distributions():
        with suppress(Exception):
            found += [entry for entry in package.entry_points if entry.group == group]
    return found


def factory_of(entry: EntryPoint, scheme: str, interface: int) -> Callable[..., Any]:
    """Load the factory of a plug-in. Raises `ConfigError`, also for a newer interface than ours."""
    what = f"{scheme}://: the plug-in {package_of(entry)}"
    try:
        factory: Callable[..., Any] = entry.load()
    except BaseException as error:
        if is_interrupt(error):
            raise
        ours = isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "layercache"
        raise ConfigError(
            f"{what} cannot be loaded: {type(error).__name__}: {error}",
            hint=f"it may need a newer layercache: {upgrade_hint()}"
            if ours
            else _reinstall(entry, "installs what it needs"),
        ) from error
    if not callable(factory):
        raise ConfigError(f"{what} has no factory: {entry.value} is not callable", hint=_reinstall(entry))
    stated = getattr(sys.modules.get(entry.module), STATED, interface)
    if not isinstance(stated, int):
        raise ConfigError(
            f"{what} declares the interface {stated!r}; expected a number", hint=_reinstall(entry)
        )
    if stated > interface:
        raise ConfigError(
            f"{what} is written for version {stated} of the interface; this layercache has {interface}",
            hint=upgrade_hint(),
        )
    return factory


def made(entry: EntryPoint, make: Callable[[], Any], place: str) -> Any:
    """Call a plug-in's factory. Raises `ConfigError`, `BackendError`."""
    what = f"{place}: the plug-in {package_of(entry)}"
    try:
        backend = make()
    except (ConfigError, BackendError):
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise ConfigError(
            f"{what} cannot open it: {type(error).__name__}: {error}", hint=_reinstall(entry)
        ) from error
    if not all(callable(getattr(backend, name, None)) for name in METHODS) or not _has_url(backend):
        kind = type(backend).__name__
        raise ConfigError(f"{what} returned {kind}, which is not a backend", hint=_reinstall(entry))
    return backend


def package_of(entry: EntryPoint) -> str:
    """Return the name and version of the package that registers the entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def package_behind(kind: type, group: str) -> str:
    """Return the name and version of the package of a class, or the class if it has no package."""
    module = kind.__module__.partition(".")[0]
    with suppress(Exception):  # broken metadata must not hide the failure that is being reported
        for entry in installed(group):
            if entry.module.partition(".")[0] == module:
                return package_of(entry)
        for name in _distributions()[module]:
            return f"{name} {metadata.version(name)}"
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the packages of each module. It reads the file list of every package, which takes 0.1 s."""
    return metadata.packages_distributions()


def _has_url(backend: Any) -> bool:
    try:
        return isinstance(backend.url, str)
    except Exception:
        return False


def _reinstall(entry: EntryPoint, brings: str = "may install a version that works") -> str:
    return f"{upgrade_hint(entry.dist.name)} {brings}" if entry.dist else ""
