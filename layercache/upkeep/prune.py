"""Evicts blobs beyond a tier's limits, or given ones, and removes leftovers of killed processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from layercache.backend.capabilities import Leftovers
from layercache.errors import ConfigError, ForbiddenError
from layercache.tiers import keys
from layercache.tiers.eviction import candidates, select
from layercache.tiers.layout import index_json
from layercache.tiers.leftovers import DAY, count_leftovers, remove_leases
from layercache.tiers.plain_tars import holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.eviction import Eviction


@dataclass(frozen=True, slots=True)
class Removed:
    """An evicted blob: hash, size in bytes, last use (seconds since the epoch), and the exceeded limit."""

    name: str
    size: int
    last_used: float
    limit: Literal["age", "size"]


@dataclass(slots=True)
class Pruned:
    """What was removed from a tier, or would be.

    ``blobs``, ``bytes``: blobs, and their size with everything derived from them (also of blobs that were
    gone already). ``leftovers``: of killed writers, their leases included. ``records``, ``images``: those
    without any blob. ``left``: bytes of the remaining blobs. ``leftovers_left``: leftovers that are too
    young, if the store can count them. ``refused``: blobs, records and images that only another user may
    remove.
    """

    tier: str
    blobs: int = 0
    bytes: int = 0
    left: int = 0
    leftovers: int = 0
    leftovers_left: int = 0
    records: int = 0
    images: int = 0
    refused: int = 0


def prune(
    tier: BackendTier,
    *,
    max_size: int | None = None,
    max_age: float | None = None,
    forget: bool = False,
    dry_run: bool = False,
    leftovers_older_than: float | None = None,
    watcher: Callable[[Removed], object] = lambda _: None,
) -> Pruned:
    """Remove what goes beyond the limits, least recently used first, and dead leftovers.

    ``max_size`` (bytes of all blobs) and ``max_age`` (seconds since a blob's last use) are by default those
    of the tier's policy; where neither says anything only leftovers go: what writes have left that began
    more than ``leftovers_older_than`` seconds ago (by default a day, or ``max_age`` if that is less), and
    leases that were last renewed then. ``forget``: also facts and images of which no blob is there.
    ``watcher`` is called with each blob that went. ``dry_run`` removes nothing, reports what would go, and
    counts no leftovers. Raises `ConfigError` for a tier that is read-only or another tool's layout,
    `BackendError`.
    """
    if tier.policy.readonly and not dry_run:
        raise ConfigError(f"{tier.name} is read-only", hint="prune it where it may be written to")
    _check_is_cache(tier)
    if leftovers_older_than is None:
        leftovers_older_than = DAY if max_age is None else min(max_age, DAY)
    max_size = tier.policy.max_size if max_size is None else max_size
    max_age = tier.policy.max_age if max_age is None else max_age
    report = Pruned(tier.name)
    if dry_run:
        blobs = candidates(tier.backend, tier.policy)
        report.left = sum(blob.size for blob in blobs)
        _take(select(blobs, limit=max_size, max_age=max_age), report, watcher)
    else:
        with tier.room.evicting(max_size=max_size, max_age=max_age) as (account, going):
            _take(going, report, watcher)
            report.left, report.refused = account.used, account.refused
        if isinstance(tier.backend, Leftovers):
            report.leftovers = tier.backend.remove_leftovers(leftovers_older_than)
        report.leftovers += remove_leases(tier.backend, leftovers_older_than)
        if young := count_leftovers(tier.backend):
            report.leftovers_left = young.count
    if dry_run:
        report.left -= report.bytes
    if forget:
        _forget(tier, report, dry_run=dry_run)
    return report


def _check_is_cache(tier: BackendTier) -> None:
    """Raise `ConfigError` for a layout of another tool: it lists images, and nothing in it is a cache's."""
    if any(True for _ in tier.images.scan()) or any(True for _ in tier.facts.scan()):
        return
    entries, others = index_json.read_index(tier)
    if others or any(index_json.is_image(entry) and not index_json.is_ours(entry) for entry in entries):
        raise ConfigError(
            f"{tier.name} lists images that layercache did not add, and is not a cache",
            hint="layercache adopt makes it one; then it can be pruned",
        )


def _take(going: Iterator[Eviction], report: Pruned, watcher: Callable[[Removed], object]) -> None:
    for each in going:
        blob = each.blob
        report.blobs += 1
        report.bytes += blob.size
        watcher(Removed(blob.name, blob.size, blob.modified, "age" if each.old else "size"))


def _forget(tier: BackendTier, report: Pruned, *, dry_run: bool) -> None:
    def removed(remove: Callable[[], None]) -> bool:
        try:
            if not dry_run:
                remove()
        except ForbiddenError:
            report.refused += 1
            return False
        return True

    for key, descriptor in list(tier.images.scan()):
        if not tier.blobs.has(descriptor.digest):
            report.images += removed(partial(tier.images.forget, key))
    for fact in tier.facts.scan():
        plain = str(fact.digest) == fact.diff_id
        if not holds(tier, fact.digest, plain=plain) and not tier.blobs.has(fact.diff_id):
            report.records += removed(partial(tier.facts.forget, fact))
    for entry in tier.backend.scan(keys.RECORDS):
        if not entry.size and entry.modified < time.time() - DAY:  # all that it said was forgotten
            removed(partial(tier.backend.delete, entry.key))
    for name in {name for _, name, _ in tier.derived.scan()}:
        if not tier.blobs.has(name):
            removed(partial(tier.derived.delete, name))
