"""Whether a folder on this machine is a cache, may become one, or holds something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from layercache.backend.capabilities import LocalPath
from layercache.errors import ConfigError
from layercache.tiers import format, keys
from layercache.tiers.backend.tier import BackendTier

if TYPE_CHECKING:
    from layercache.backend import Backend
    from layercache.tiers.tier import Tier

State = Literal["absent", "empty", "cache", "other"]

# What only a cache or another OCI image layout has. A cache gets its oci-layout when it is closed, so a
# program that was killed before may leave any one of the others.
_SIGNS = (
    keys.OCI_LAYOUT,
    format.KEY,
    f"{keys.BLOBS}sha256",
    f"{keys.BLOBS}sha512",
    keys.RECORDS.rstrip("/"),
    format.EARLIER.rstrip("/"),
)

# What does not make a folder belong to something else: folders of a writer that was killed early, of a mirror
# or of a doctor, what file systems and Finder create, and what marks a folder as a cache for backup programs.
_NOT_COUNTED = frozenset(
    {"blobs", "tmp", "locks", "probes", "quarantine", keys.UPLOADS, "lost+found", ".DS_Store", "CACHEDIR.TAG"}
    | {".gitignore", ".gitkeep"}
)


def folder_of(backend: Backend) -> str | None:
    """Return the folder of a backend on this machine; None for any other."""
    return os.path.dirname(backend.path(keys.OCI_LAYOUT)) if isinstance(backend, LocalPath) else None


def state_of(folder: str) -> State:
    """Return what is in a folder. One that cannot be listed counts as a cache: opening it reports why."""
    if _has_signs(folder):
        return "cache"
    try:
        names = set(os.listdir(folder))
    except FileNotFoundError:
        return "absent"
    except OSError:
        return "cache"
    if names - _NOT_COUNTED:
        return "cache" if _has_signs(folder) else "other"  # another process may have begun it in between
    return "cache" if names else "empty"


def _has_signs(folder: str) -> bool:
    return any(os.path.lexists(os.path.join(folder, sign)) for sign in _SIGNS)


def refuse_other(backend: Backend) -> None:
    """Raise `ConfigError` if the backend is a folder with other files, in which no cache may be made."""
    folder = folder_of(backend)
    if folder is not None and state_of(folder) == "other":
        raise ConfigError(
            f"{folder} holds files and is not a cache",
            hint="name a cache, or a folder that is empty or does not exist yet",
        )


def missing(tiers: tuple[Tier, ...]) -> tuple[str, State] | None:
    """Return the nearest folder and its state if no tier is a cache yet: all are absent or empty folders."""
    found = []
    for tier in tiers:
        folder = folder_of(tier.backend) if isinstance(tier, BackendTier) else None
        if folder is None or (state := state_of(folder)) == "cache":
            return None
        found.append((folder, state))
    return found[0]
