"""What is reported of a cache that does not exist yet, and of one that a command has created."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from layercache.cli.output import human
from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache


def check_there(cache: Cache, note: Callable[[str], object]) -> None:
    """Raise `NotFoundError` for a folder that does not exist, unless it is the default one, which is empty
    before its first use.
    """
    from layercache.config.default_cache import is_default
    from layercache.tiers import folder

    found = folder.missing(cache.tiers)
    if found is None:
        return
    path, state = found
    if state == "absent" and not is_default(path):
        raise NotFoundError(
            f"there is no cache at {path} yet",
            hint="layercache pull IMAGE or put FILE creates one; config show prints the cache in use",
        )
    note(f"layercache: the cache {path} is empty; layercache pull IMAGE or put FILE fills it")


def default_folder(cache: Cache) -> tuple[str, int] | None:
    """Return the user's cache folder and its limit in bytes if it is a tier that does not exist yet."""
    from layercache.config.default_cache import is_default
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.folder import folder_of

    for tier in cache.tiers:
        path = folder_of(tier.backend) if isinstance(tier, BackendTier) else None
        if path and tier.policy.max_size and not os.path.exists(path) and is_default(path):
            return path, tier.policy.max_size
    return None


def announcement(path: str, limit: int) -> str:
    return (
        f"layercache: created the cache {path}; it keeps up to {human(limit)} and then removes what was not "
        "used for the longest time (max_size in the configuration changes that)"
    )
