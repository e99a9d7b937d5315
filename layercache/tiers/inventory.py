"""What a tier holds: layers one after the other, a cache of any size in the same memory; and all counted."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotFoundError
from layercache.oci.forms import COMPRESSED
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.leftovers import count_leftovers
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.tiers.association import Association
    from layercache.tiers.leftovers import LeftoverCount
    from layercache.tiers.tier import Tier

REMEMBERED = 1 << 18
"""Blobs of a listing that are remembered to count layers, in some 200 bytes each: memory has a bound."""


class CachedLayer(Value, frozen=True):
    """A pair of names that a tier knows, and which of the two forms it has. Sizes are bytes.

    ``computed``: the two were seen to belong together; else that is a claim. ``used``: when one of the forms
    was last used or published, in seconds since the epoch; 0 if that is unknown.
    """

    digest: Digest
    diff_id: DiffID
    size: int
    uncompressed_size: int | None
    media_type: str
    computed: bool
    compressed: bool
    uncompressed: bool
    used: float
    tier: str

    @property
    def forms(self) -> str:
        """``both``, ``compressed``, ``uncompressed`` or ``none``."""
        if self.compressed:
            return "both" if self.uncompressed else "compressed"
        return "uncompressed" if self.uncompressed else "none"


class TierStats(Value, frozen=True):
    """What a tier holds. Layers are counted by the forms of them that are there.

    ``indexes``: of the files of layers, and what else is derived from blobs. ``max_size`` (bytes) and
    ``max_age`` (seconds): its limits; None without one. ``leftovers``: unfinished writes; None if the store
    cannot list them, as is ``leftover_bytes`` if it does not state sizes. ``leftover_age``: seconds since the
    oldest was begun; None if there are none.
    """

    tier: str
    blobs: int
    bytes: int
    max_size: int | None
    max_age: float | None
    both_forms: int
    compressed_only: int
    uncompressed_only: int
    no_form: int
    indexes: int
    index_bytes: int
    images: int
    leftovers: int | None
    leftover_bytes: int | None
    leftover_age: float | None

    @property
    def layers(self) -> int:
        """Layers that the tier knows, whatever it has of them."""
        return self.both_forms + self.compressed_only + self.uncompressed_only + self.no_form


def count(tier: Tier, progress: Callable[[int], object] = lambda _size: None) -> TierStats:
    """Count what a tier holds; ``progress`` is called with the size of each blob. Raises `BackendError`."""
    blobs = size = 0
    listed: set[Hash] = set()
    room = REMEMBERED if isinstance(tier, BackendTier) else 0  # a registry lists records, not blobs
    for name, entry in tier.blobs.scan():
        blobs += 1
        size += entry.size
        if blobs <= room:
            listed.add(name)
        progress(entry.size)
    indexes = index_bytes = 0
    for _, _, entry in tier.derived.scan():
        indexes += 1
        index_bytes += entry.size
    forms = _forms(tier, listed, complete=blobs < room)
    left = _leftovers(tier)
    return TierStats(
        tier.name,
        blobs,
        size,
        tier.policy.max_size,
        tier.policy.max_age,
        forms[True, True],
        forms[True, False],
        forms[False, True],
        forms[False, False],
        indexes,
        index_bytes,
        sum(1 for _ in tier.images.scan()),
        left.count if left else None,
        left.bytes if left else None,
        left.oldest if left else None,
    )


def _leftovers(tier: Tier) -> LeftoverCount | None:
    """Count unfinished writes; None if the store cannot list them or forbids it."""
    try:
        return count_leftovers(tier.backend) if isinstance(tier, BackendTier) else None
    except BackendError:
        return None


def layers(tier: Tier) -> Iterator[CachedLayer]:
    """Each pair of names once, in any order: a claim is skipped where something was computed."""
    last_use = partial(_last_use, tier)
    return (_held(tier, fact, last_use) for fact in _facts(tier))


def layers_of(tier: Tier, digests: Iterable[Digest]) -> Iterator[CachedLayer]:
    """The layers with these digests, in their order; without those that the tier does not know."""
    for digest in digests:
        for fact in tier.facts.inflates_to(digest)[:1]:
            yield _held(tier, fact, partial(_last_use, tier))


def added(tier: Tier) -> dict[tuple[Digest, DiffID], float]:
    """When the tier learned each pair of names, in seconds since the epoch; 0 if that is unknown."""
    found: dict[tuple[Digest, DiffID], float] = {}
    for fact, written in tier.facts.written():
        pair = fact.digest, fact.diff_id
        found[pair] = min(found.get(pair) or written, written)
    return found


def _forms(tier: Tier, listed: Container[Hash], *, complete: bool) -> Counter[tuple[bool, bool]]:
    """How many layers there are with and without their blob, with and without their tar.

    ``listed``: blobs that are there; ``complete``: all of them, so the tier is asked about none.
    """
    counts: Counter[tuple[bool, bool]] = Counter()
    has, has_tars = tier.blobs.has, tier.policy.keep != COMPRESSED
    for fact in _facts(tier):
        digest, diff_id = fact.digest, fact.diff_id
        blob = digest in listed or (not complete and has(digest))
        tar = blob
        if str(digest) != diff_id:
            tar = has_tars and (diff_id in listed or (not complete and has(diff_id)))
        counts[blob, tar] += 1
    return counts


def _facts(tier: Tier) -> Iterator[Association]:
    """A fact of each pair of names."""
    for fact in tier.facts.scan():
        if fact.computed or not tier.facts.has_computed(fact.digest):
            yield fact


def _held(tier: Tier, fact: Association, last_use: Callable[[Hash], float | None]) -> CachedLayer:
    blob = last_use(fact.digest)
    tar = blob
    if str(fact.digest) != fact.diff_id:
        tar = last_use(fact.diff_id) if tier.policy.keep != COMPRESSED else None
    return CachedLayer(
        fact.digest,
        fact.diff_id,
        fact.size,
        fact.uncompressed_size,
        fact.media_type,
        fact.computed,
        blob is not None,
        tar is not None,
        max(blob or 0.0, tar or 0.0),
        tier.name,
    )


def _last_use(tier: Tier, name: Hash) -> float | None:
    """When a blob was last used; None if it is not there.

    0 if the tier is not a store of objects: a registry would need another request for the time.
    """
    if not isinstance(tier, BackendTier):
        return 0.0 if tier.blobs.has(name) else None
    try:
        return tier.blobs.stat(name).modified
    except NotFoundError:
        return None
