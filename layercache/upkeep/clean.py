"""Empties a tier of any format: removes every blob, record and image, and nothing that is not the cache's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from layercache.backend.capabilities import Leftovers
from layercache.errors import ConfigError, ForbiddenError
from layercache.tiers import format, keys
from layercache.tiers.gate import command_of, opened
from layercache.tiers.layout import index_json
from layercache.tiers.leftovers import DAY, remove_leases
from layercache.upkeep.earlier import is_association, remove_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Entry
    from layercache.tiers.backend.tier import BackendTier


@dataclass(slots=True)
class Cleaned:
    """What was removed from a tier, or would be.

    ``blobs`` counts quarantined objects, too, and ``bytes`` also what was derived from blobs. ``refused``:
    objects that only another user may remove.
    """

    tier: str
    blobs: int = 0
    bytes: int = 0
    records: int = 0
    images: int = 0
    refused: int = 0

    @property
    def objects(self) -> int:
        return self.blobs + self.records + self.images


def count_all(tier: BackendTier) -> Cleaned:
    """Count what `clean` would remove.

    Raises `ConfigError` if the tier is read-only or another tool's layout, or has a newer format;
    `BackendError`.
    """
    if tier.policy.readonly:
        raise ConfigError(f"{tier.name} is read-only", hint="empty it where it may be written to")
    with opened(tier.backend):
        return _count(tier)


def _count(tier: BackendTier) -> Cleaned:
    marker = format.read_marker(tier.backend)
    if marker is not None and (marker.format or 0) > format.FORMAT:
        format.is_marked(tier.backend, partial(command_of, tier.backend))  # says what to do
    found = Cleaned(tier.name)
    for folder in (keys.BLOBS, keys.DERIVED, keys.QUARANTINE):
        for entry in _ours(tier, folder):
            found.bytes += entry.size
            found.blobs += folder != keys.DERIVED
    found.images = sum(1 for _ in _ours(tier, keys.IMAGES))
    for folder in (keys.RECORDS, format.EARLIER):
        found.records += sum(1 for _ in _ours(tier, folder))
    _check_is_cache(tier, found, marked=marker is not None)
    return found


def clean(tier: BackendTier) -> Cleaned:
    """Remove everything that the cache keeps in a tier, and leftovers that are more than a day old.

    Other files stay, and so do the store's folders, which running writers may be about to publish in. If it
    is interrupted, another call removes the rest. Raises as `count_all`.
    """
    count_all(tier)
    with opened(tier.backend):
        return _clean(tier)


def _clean(tier: BackendTier) -> Cleaned:
    done = Cleaned(tier.name)
    # Images first, so that none is listed whose blobs are gone. Records last, and then the marker: they show
    # that this is a cache, for the next call, if this one is killed.
    done.images = len(_remove(tier, keys.IMAGES, done))
    with tier.room.evicting(max_size=0) as (account, going):
        for each in going:
            done.blobs += 1
            done.bytes += each.blob.size
        done.refused += account.refused
    for folder in (keys.BLOBS, keys.QUARANTINE):  # of the blobs, only empty ones are left
        done.blobs += len(_remove(tier, folder, done))
    for folder in (keys.RECORDS, format.EARLIER):
        done.records += len(_remove(tier, folder, done))
    remove_folders(tier.backend)
    _remove_marker(tier, done)
    if isinstance(tier.backend, Leftovers):
        tier.backend.remove_leftovers(DAY)
    remove_leases(tier.backend, DAY)
    return done


def _remove_marker(tier: BackendTier, done: Cleaned) -> None:
    try:
        tier.backend.delete(format.KEY)
    except ForbiddenError:
        done.refused += 1


def _remove(tier: BackendTier, folder: str, done: Cleaned) -> list[str]:
    removed = []
    for entry in list(_ours(tier, folder)):
        try:
            tier.backend.delete(entry.key)
        except ForbiddenError:
            done.refused += 1
            continue
        removed.append(entry.key)
        done.bytes += entry.size if folder in (keys.BLOBS, keys.QUARANTINE) else 0
    return removed


def _ours(tier: BackendTier, folder: str) -> Iterator[Entry]:
    """The objects in a folder whose names are those of the cache's objects; others may be anybody's files."""
    return (entry for entry in tier.backend.scan(folder) if _is_ours(entry.key))


def _is_ours(key: str) -> bool:
    key = key.removeprefix(keys.QUARANTINE)
    recorded = keys.record_name(key) or is_association(key)
    return bool(recorded or keys.blob_name(key) or keys.derived_name(key) or keys.is_image(key))


def _check_is_cache(tier: BackendTier, found: Cleaned, *, marked: bool) -> None:
    """Raise `ConfigError` for a layout of another tool, and for one to which another tool added images."""
    entries, others = index_json.read_index(tier)
    foreign = sum(index_json.is_image(entry) and not index_json.is_ours(entry) for entry in entries)
    if foreign or others:
        raise ConfigError(
            f"{tier.name} lists images that layercache did not add: {foreign + len(others)}",
            hint="layercache adopt makes them the cache's; then they can be removed",
        )
    if found.blobs and not (found.records or found.images or marked):
        raise ConfigError(
            f"{tier.name} has blobs, but neither records nor images: it may not be a cache",
            hint="remove the folder by hand if it is yours",
        )
