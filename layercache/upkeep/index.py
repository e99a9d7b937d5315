"""Rewrites index.json by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.layout.index_writer import write_index
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.tiers.tier import Tier


class WrittenIndex(Value, frozen=True):
    """How many images the index.json of a tier lists, and how many ``others``: layers, foreign entries."""

    tier: str
    images: int
    others: int


def write_index_of(tiers: Iterable[Tier], *, layers: bool | None) -> WrittenIndex:
    """Rewrite that of the nearest writable store. Raises `ConfigError` if there is none."""
    for tier in tiers:
        if isinstance(tier, BackendTier) and not tier.policy.readonly:
            images, others = write_index(tier, layers=layers)
            return WrittenIndex(tier.name, images, others)
    raise ConfigError(
        "no tier can hold an index.json",
        hint="choose a writable cache: --cache file:///var/cache/layers",
    )
