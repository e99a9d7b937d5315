"""Loads the configuration, and opens caches by it.

The modules that parse and check TOML are imported only if there is a file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from layercache.config import environment, files
from layercache.config.configuration import Configuration
from layercache.config.default_cache import as_url
from layercache.config.setting import ARGUMENT, Setting
from layercache.errors import ConfigError, wrong_type

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import UnionType

    from layercache.cache import Cache
    from layercache.config.from_variables import Variables
    from layercache.registry.settings import RegistrySettings

__all__ = ["Configuration", "Verify", "configured", "load", "open"]

Verify = Literal["size", "always"]

_TYPES: dict[str, tuple[type | UnionType, str]] = {
    "offline": (bool, "True or False"),
    "strict": (bool, "True or False"),
    "statistics": (bool, "True or False"),
    "verify": (str, '"size" or "always"'),
    "max_inflated_size": (int, "a number of bytes"),
    "max_ratio": (int, "a whole number"),
    "max_document_size": (int, "a number of bytes"),
    "tag_age": (int | float, "a number of seconds"),
    "finish": (str, 'a str ("25%,64MiB", "always")'),
}
"""What the arguments of `open` are, by name."""


def open(
    urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    config: str | os.PathLike[str] | Configuration | None = None,
    offline: bool | None = None,
    verify: Verify | None = None,
    strict: bool | None = None,
    max_inflated_size: int | None = None,
    max_ratio: int | None = None,
    max_document_size: int | None = None,
    tag_age: float | None = None,
    finish: str | None = None,
    statistics: bool | None = None,
    registries: RegistrySettings | None = None,
) -> Cache:
    """Open a cache: one URL or folder, several (tiers, nearest first), ``@NAME``, or None.

    None opens the configured cache, and ``@NAME`` a cache that the configuration defines. In these cases,
    and if ``config`` names a file, the configuration files apply, and arguments override them. With URLs
    alone no file is read, so that a library does not depend on the folder that the program runs in; variables
    (``LAYERCACHE_STRICT`` …) always apply. See docs/configuration.md.

    - ``offline``: do not contact registries or other sources.
    - ``verify="always"``: hash entries of trusted tiers on each read; by default check their size.
    - ``strict``: raise an error if a tier fails; by default it is skipped.
    - ``max_inflated_size`` (bytes of a layer's tar) and ``max_ratio`` (tar to blob size, beyond the first
      GiB): refuse bigger layers as decompression bombs.
    - ``max_document_size``: bytes that a manifest, an index or a config may have.
    - ``tag_age``: seconds for which a tag is not checked with its registry again; 0 by default.
    - ``finish``: how much must be fetched for a transfer to go on, and be kept, although its readers left:
      ``always``, ``never``, a share, a size or both; by default ``25%,64MiB``, whichever is less.
    - ``statistics``: add what the cache did to the user's totals when it is closed; true by default.
    - ``registries``: how to reach registries; by default as the configuration, the environment and Docker's
      configuration say.

    Raises `ConfigError`.
    """
    from layercache.config.reopening import Reopening

    configuration, named = configured(config, urls)
    arguments = {
        "offline": offline,
        "verify": verify,
        "strict": strict,
        "max_inflated_size": max_inflated_size,
        "max_ratio": max_ratio,
        "max_document_size": max_document_size,
        "tag_age": tag_age,
        "finish": finish,
        "statistics": statistics,
    }
    given = {key: _setting(key, value) for key, value in arguments.items() if value is not None}
    if registries is not None and not hasattr(registries, "auth_files"):
        raise wrong_type("registries, a RegistrySettings", registries)
    options = {**arguments, "config": config, "registries": registries}
    reopening = Reopening.of(None if urls is None else named, options, open)
    cache = configuration.open(named, by=ARGUMENT, given=given, registries=registries, reopening=reopening)
    reopening.remember(cache)
    return cache


def _setting(key: str, value: object) -> Setting:
    """Check an argument. The configuration files have another way to write sizes and times."""
    expected, words = _TYPES[key]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise wrong_type(f"{key}, {words}", value)
    if key == "verify" and value not in ("size", "always"):
        raise ConfigError(f"verify={value!r}", hint='pass "size" or "always"')
    return Setting(value, ARGUMENT)


def configured(
    config: str | os.PathLike[str] | Configuration | None,
    urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
) -> tuple[Configuration, list[str]]:
    """What a program's arguments ask for: files are read only where they are needed; and the URLs."""
    named = _urls(urls)
    if isinstance(config, Configuration):
        return config, named
    if config is not None and not isinstance(config, str | os.PathLike):
        raise wrong_type("config, a path", config)
    wanted = config is not None or urls is None or any(url.startswith("@") for url in named)
    configuration = load(config) if wanted else Configuration(variables=_variables())
    if configuration.variables and configuration.variables.unknown:
        import warnings

        from layercache.config.from_variables import warning

        warnings.warn(warning(configuration.variables.unknown), stacklevel=3)
    return configuration, named


def load(file: str | os.PathLike[str] | None = None) -> Configuration:
    """Load this configuration file, or else those that are found. Raises `ConfigError`."""
    named = None if file is None else os.fspath(file)
    documents = files.find(named)
    if not documents:
        return Configuration((), _variables(), [place.path for place in files.places(named)])
    from layercache.config.schema import checked

    return Configuration([checked(each) for each in documents], _variables())


def _variables() -> Variables | None:
    """Read the variables of single keys, if any are set."""
    if not environment.keys():
        return None
    from layercache.config.from_variables import read

    return read()


def _urls(urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None) -> list[str]:
    if urls is None:
        return []
    if isinstance(urls, str | os.PathLike):
        return [as_url(urls)]
    try:
        several = list(urls)
    except TypeError:
        raise wrong_type("a URL or a folder, or several of them", urls) from None
    if not several:
        raise ConfigError("no cache was given", hint="pass at least one URL")
    return [as_url(url) for url in several]
