"""What a pull will take: how much of the images is cached, how much is to be fetched, and whether it fits."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from layercache.backend.capabilities import LocalPath
from layercache.errors import BackendError
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.pull.puller import distinct
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.keys import OCI_LAYOUT
from layercache.tiers.plain_tars import holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from layercache.images.image import Image
    from layercache.layer import Forms, Layer
    from layercache.oci.digest import Hash
    from layercache.pull.filled import FilledCache
    from layercache.tiers.tier import Tier

ASKED_AT_ONCE = 16
"""Look-ups that run in parallel in a far tier: each is a round trip."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of layers, and the bytes of their blobs."""

    layers: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, layers: Iterable[Layer]) -> Self:
        sizes = [layer.size or 0 for layer in layers]
        return cls(len(sizes), sum(sizes))


@dataclass(frozen=True, slots=True)
class Room:
    """The room of the tier that is filled.

    ``free``: bytes left on its disk; None if it is not on this machine. ``limit``:
    bytes that its blobs may have; ``used``: those that they have. None without a limit. ``alone``: no other
    tier stores the form.
    """

    tier: str
    free: int | None = None
    limit: int | None = None
    used: int | None = None
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull of images takes. Bytes are those of blobs, whatever form is stored.

    ``total`` counts a layer once for each image, ``distinct`` once. Of the distinct ones, ``cached`` are on
    this machine, ``far`` are in a tier farther away (by tier; empty if they were not asked), and the rest of
    ``missing`` comes from the images' sources.
    """

    images: int
    total: Amount
    distinct: Amount
    cached: Amount
    missing: Amount
    far: dict[str, Amount]
    room: Room | None

    @property
    def shared(self) -> int:
        """Bytes that need not be fetched because several images use them."""
        return self.total.bytes - self.distinct.bytes

    def check_room(self) -> None:
        """Raise `BackendError` if what is missing does not fit on the disk, or no tier may hold all."""
        if self.room is not None and self.exceeds_limit and self.room.alone:
            raise BackendError(
                f"the images do not fit: they have {self.distinct.bytes} bytes, and {self.room.tier} may have"
                f" {self.room.limit} (max_size)",
                hint="raise max_size, or pull fewer images at once",
            )
        if self.room is None or self.room.free is None:
            return
        needed = self.missing.bytes
        if self.room.limit is not None:  # what is evicted makes room
            needed = min(needed, max(0, self.room.limit - (self.room.used or 0)))
        if needed > self.room.free:
            raise BackendError(
                f"the images do not fit: {needed} bytes are needed, and the disk of {self.room.tier} has"
                f" {self.room.free} left",
                hint="free some space (layercache prune --older-than 30d), or pull fewer images at once",
            )

    @property
    def exceeds_limit(self) -> bool:
        """Whether the images are bigger than the tier may get. A pull does not evict the layers it
        brings, so not all of them will be stored there.
        """
        limit = self.room.limit if self.room else None
        return limit is not None and self.distinct.bytes > limit


def make_plan(cache: FilledCache, images: Sequence[Image], form: Forms, *, ask_far: bool = False) -> Plan:
    """Look up the layers of images, without fetching any.

    Tiers on this machine are asked; with ``ask_far`` the others too, which costs a round trip for each layer
    that is missing here. A tier that fails counts as empty.
    """
    layers = distinct(images)
    near, remote = ([tier for tier in cache.tiers if tier.remote == far] for far in (False, True))
    there = {layer.digest for layer in layers if any(_holds(tier, layer, form) for tier in near)}
    missing = [layer for layer in layers if layer.digest not in there]
    return Plan(
        len(images),
        Amount.of(layer for image in images for layer in image.layers),
        Amount.of(layers),
        Amount.of(layer for layer in layers if layer.digest in there),
        Amount.of(missing),
        _far(remote, missing) if ask_far else {},
        _room(cache.tiers, form),
    )


def cached_here(cache: FilledCache, image: Image, form: Forms) -> Amount:
    """The layers of an image that tiers on this machine have in this form."""
    near = [tier for tier in cache.tiers if not tier.remote]
    return Amount.of(each for each in image.layers if any(_holds(tier, each, form) for tier in near))


def _holds(tier: Tier, layer: Layer, form: Forms) -> bool:
    """Whether a tier has a form of a layer. What is not a layer has a compressed form only."""
    names: list[Hash | None] = [layer.digest] if form != "uncompressed" else []
    if form != COMPRESSED:
        names.append(layer.names.diff_id or layer.digest)
    with suppress(BackendError):
        plain = _is_plain(layer)
        return all(name is not None and holds(tier, name, plain=plain) for name in names)
    return False


def _is_plain(layer: Layer) -> bool:
    """Whether a layer is distributed as a plain tar, which a tier may have inside another blob."""
    return str(layer.digest) == layer.names.diff_id


def _far(tiers: Iterable[Tier], missing: list[Layer]) -> dict[str, Amount]:
    """The missing layers that far tiers have, each in the nearest one that has it."""
    found: dict[str, Amount] = {}
    for tier in tiers:
        has = _asker(tier)
        with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="plan") as pool:
            there = list(pool.map(has, missing))
        found[tier.name] = Amount.of(layer for layer, held in zip(missing, there, strict=True) if held)
        missing = [layer for layer, held in zip(missing, there, strict=True) if not held]
    return found


def _asker(tier: Tier) -> Callable[[Layer], bool]:
    """Ask a tier for layers until it fails once: a dead store would cost a timeout for each."""
    failed = False

    def has(layer: Layer) -> bool:
        nonlocal failed
        try:
            return not failed and holds(tier, layer.digest, plain=_is_plain(layer))
        except BackendError:
            failed = True
            return False

    return has


def _room(tiers: Iterable[Tier], form: Forms) -> Room | None:
    """The room of the nearest tier that stores the form, or a part of it."""
    forms = (COMPRESSED, UNCOMPRESSED) if form == "both" else (form,)
    storing = [tier for tier in tiers if any(tier.policy.stores(each) for each in forms)]
    if not storing:
        return None
    tier = storing[0]
    free = used = None
    if isinstance(tier, BackendTier) and isinstance(tier.backend, LocalPath):
        free = _free(os.path.dirname(tier.backend.path(OCI_LAYOUT)))
        if tier.policy.max_size is not None:
            with suppress(BackendError):
                used = sum(entry.size for _, entry in tier.blobs.scan())
    return Room(tier.name, free, tier.policy.max_size, used, alone=len(storing) == 1)


def _free(folder: str) -> int | None:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None
