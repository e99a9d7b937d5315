"""Where a cache is, and how it behaves: arguments, the environment, a configuration file, defaults.

The only package that reads the environment and configuration files. What reads TOML and checks it is
imported only when a file is there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from layercache.config import files
from layercache.config.configuration import ARGUMENT, Configuration, Setting, file_url
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.cache import Cache
    from layercache.registry.settings import RegistrySettings

__all__ = ["Configuration", "Verify", "load", "open"]

Verify = Literal["size", "always"]


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
    registries: RegistrySettings | None = None,
) -> Cache:
    """Open a cache: one URL or folder, several (tiers, near to far), ``@NAME``, or None.

    None is the configured cache, ``@NAME`` one that the configuration names. Then, or where ``config``
    names a file, the configuration counts: its registries and how the cache behaves, unless an argument
    says otherwise. With URLs alone no file is read: what a library does must not hang on the folder that
    the program runs in. See docs/configuration.md.

    ``offline``: no source is asked. ``verify="always"``: what the nearest tier holds is hashed each time
    it is read; by default its size is checked. ``strict``: a tier that fails is an error, not passed over.
    ``max_inflated_size`` (bytes of one layer's tar) and ``max_ratio`` (inflated to compressed, beyond the
    first GiB) stop decompression bombs; ``max_document_size`` is the bytes that a manifest, an index or a
    config may have. ``tag_age``: for so many seconds what a tag names is not asked of its registry again; 0
    by default. ``registries``: how registries are reached; by default as the
    configuration, the environment and Docker's configuration say. Raises `ConfigError`.
    """
    named = _urls(urls)
    if not isinstance(config, Configuration):
        wanted = config is not None or urls is None or any(url.startswith("@") for url in named)
        config = load(config) if wanted else Configuration()
    arguments = {
        "offline": offline,
        "verify": verify,
        "strict": strict,
        "max_inflated_size": max_inflated_size,
        "max_ratio": max_ratio,
        "max_document_size": max_document_size,
        "tag_age": tag_age,
    }
    given = {key: Setting(value, ARGUMENT) for key, value in arguments.items() if value is not None}
    return config.open(named, by=ARGUMENT, given=given, registries=registries)


def load(file: str | os.PathLike[str] | None = None) -> Configuration:
    """The configuration that counts: of this file, else of the first that is found. Raises `ConfigError`."""
    named = None if file is None else os.fspath(file)
    document = files.find(named)
    if document is None:
        return Configuration(looked_in=[place.path for place in files.places(named)])
    from layercache.config.schema import checked

    return Configuration(checked(document))


def _urls(urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None) -> list[str]:
    if urls is None:
        return []
    several = [urls] if isinstance(urls, str | os.PathLike) else list(urls)
    if not several:
        raise ConfigError("no cache is named", hint="give at least one URL")
    return [url if isinstance(url, str) else file_url(os.fspath(url)) for url in several]
