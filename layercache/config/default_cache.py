"""The cache without any configuration: a folder of the user, limited so that it cannot fill the disk."""

from __future__ import annotations

import os

from layercache.backend import BackendURL
from layercache.backend.url import quoted
from layercache.config import environment
from layercache.config.setting import Setting
from layercache.errors import ConfigError, wrong_type

LIMIT = 20 * 10**9
"""Bytes that the default folder may have, if that is not more than `SHARE` of its disk."""

SHARE = 0.1


def default_cache() -> str:
    """Return the URL of the user's cache folder. Raises `ConfigError` without a home folder."""
    return file_url(environment.user_cache_folder())


def file_url(path: str) -> str:
    """Return the file:// URL of a folder; "~" at the beginning is a home folder."""
    return f"file://{quoted(os.path.abspath(os.path.expanduser(path)), safe='/')}"


def as_url(place: str | os.PathLike[str]) -> str:
    """Return the URL of a cache that a program names by its URL or its folder. Raises `TypeError`."""
    if isinstance(place, str):
        return place
    if not isinstance(place, os.PathLike):
        raise wrong_type("the URL or the folder of a cache, a str or a path", place)
    path = os.fspath(place)
    if not isinstance(path, str):
        raise wrong_type("a path of str", path)
    return file_url(path)


def is_default(folder: str) -> bool:
    """Whether a folder is the user's cache folder. Every cache that is opened is asked, so this is quick."""
    try:
        default = environment.user_cache_folder()
    except ConfigError:  # there is none
        return False
    try:
        return os.path.samefile(folder, default)
    except OSError:  # one of them does not exist yet
        return os.path.abspath(folder) == os.path.abspath(default)


def limited(tier: Setting) -> Setting:
    """Return the tier; with a ``max_size`` if it is the user's cache folder and has none."""
    size = default_limit(tier)
    if not size:
        return tier
    url = BackendURL.parse(tier.value)
    folder = os.path.abspath(os.path.expanduser(url.path))
    return Setting(str(BackendURL("file", "", folder, {**url.query, "max_size": size})), tier.origin)


def default_limit(tier: Setting) -> str:
    """Return the ``max_size`` that a tier has by default; empty for no limit."""
    if "max_size=" in tier.value or (":" in tier.value and not tier.value.startswith("file:")):
        return ""
    try:
        url = BackendURL.parse(tier.value)
    except ConfigError:  # to be reported where the tier is opened
        return ""
    folder = os.path.expanduser(url.path)
    return size_text(limit(folder)) if url.scheme == "file" and is_default(folder) else ""


def size_text(size: int) -> str:
    """Return a size as users write it, rounded down to a MB."""
    return f"{size // 10**9}GB" if size % 10**9 == 0 else f"{size // 10**6}MB"


def limit(folder: str) -> int:
    """Return the bytes that the folder may have by default."""
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    try:
        disk = os.statvfs(folder)
    except OSError:
        return LIMIT
    return min(LIMIT, int(disk.f_blocks * disk.f_frsize * SHARE) or LIMIT)
