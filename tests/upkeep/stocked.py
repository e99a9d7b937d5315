"""Tiers that hold blobs of chosen sizes and ages, and what is in them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cache.stores import blobs, write_blob
from servers.images import noise

from layercache.oci.digest import Hash
from layercache.tiers import keys
from layercache.tiers.backend_tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600.0


def on_disk(
    folder: Path, *, max_size: int | None = None, max_age: float | None = None, readonly: bool = False
) -> BackendTier:
    policy = Policy(trusted=True, max_size=max_size, max_age=max_age, readonly=readonly)
    return BackendTier(LocalBackend(str(folder), sync=False), policy)


def in_memory(
    *, max_size: int | None = None, max_age: float | None = None, readonly: bool = False
) -> BackendTier:
    """As a bucket is: without locks, and its times are those of publishing."""
    return BackendTier(MemoryBackend(), Policy(max_size=max_size, max_age=max_age, readonly=readonly))


def data_of(seed: int, size: int) -> bytes:
    return noise(size, seed)


def stock(tier: BackendTier, seed: int, size: int = 100, *, age: float = HOUR) -> Hash:
    """A blob that stands there behind the tier's back, last used so many seconds ago."""
    data = data_of(seed, size)
    name = Hash.of(data)
    write_blob(tier, name, data)
    grow_old(tier, name, age)
    return name


def grow_old(tier: BackendTier, name: Hash, age: float) -> None:
    key, then = keys.blob(name), time.time() - age
    if isinstance(tier.backend, LocalBackend):
        os.utime(tier.backend.path(key), (then, then))
    else:
        assert isinstance(tier.backend, MemoryBackend)
        objects = tier.backend._objects
        objects[key] = (objects[key][0], then)


def used(tier: BackendTier) -> int:
    """Bytes of all blobs, as they are."""
    return sum(entry.size for _, entry in tier.blobs())


__all__ = ["HOUR", "blobs", "data_of", "grow_old", "in_memory", "on_disk", "stock", "used", "write_blob"]
