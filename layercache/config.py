"""Where a cache is, and how it behaves: from arguments, then the environment, then defaults.

The only module that reads the environment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from layercache.cache import Cache
from layercache.errors import ConfigError
from layercache.streams import MAX_INFLATED_SIZE, MAX_RATIO, Limits
from layercache.tier import open_tier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.sources.settings import RegistrySettings

URL = "LAYERCACHE_URL"

Verify = Literal["size", "always"]


def open(
    urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    offline: bool = False,
    verify: Verify = "size",
    max_inflated_size: int = MAX_INFLATED_SIZE,
    max_ratio: int = MAX_RATIO,
    registries: RegistrySettings | None = None,
) -> Cache:
    """Open a cache: one URL or folder, several (tiers, near to far), or None for the configured one.

    ``offline``: no source is asked. ``verify="always"``: what the nearest tier holds is hashed each time
    it is read; by default its size is checked. ``max_inflated_size`` (bytes of one layer's tar) and
    ``max_ratio`` (inflated to compressed, beyond the first GiB) stop decompression bombs. ``registries``:
    how registries are reached; by default as the environment and Docker's configuration say. Raises
    `ConfigError`.
    """
    tiers = [open_tier(url, nearest=not number) for number, url in enumerate(_urls(urls))]
    return Cache(
        tiers,
        registries=registries,
        limits=Limits(size=max_inflated_size, ratio=max_ratio),
        offline=offline,
        verify_always=verify == "always",
    )


def _urls(urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None) -> list[str]:
    if urls is None:
        return os.environ.get(URL, "").split() or [default_url()]
    several = [urls] if isinstance(urls, str | os.PathLike) else list(urls)
    if not several:
        raise ConfigError("no cache is named", hint="give at least one URL")
    return [url if isinstance(url, str) else _file_url(os.fspath(url)) for url in several]


def default_url() -> str:
    """The user's cache folder, as the platform has it."""
    from platformdirs import user_cache_path

    return _file_url(os.fspath(user_cache_path("layercache", appauthor=False)))


def _file_url(path: str) -> str:
    return f"file://{quote(os.path.abspath(path))}"
