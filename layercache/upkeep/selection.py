"""Selects the tiers for upkeep: those on a store of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.tiers.backend.tier import BackendTier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.tiers.tier import Tier


def stores_of(tiers: Iterable[Tier], *, everyone: bool, writable: bool = False) -> list[BackendTier]:
    """The nearest tier that is a store, or all of them (``everyone``); only writable ones with ``writable``.

    Raises `ConfigError` if there is none.
    """
    stores = [tier for tier in tiers if isinstance(tier, BackendTier)]
    found = [tier for tier in stores if not (writable and tier.policy.readonly)]
    if not found:
        raise ConfigError(
            "every tier is read-only" if stores else "no tier is a store",
            hint="name a cache that can be written to"
            if stores
            else "name a cache: file:///var/cache/layers",
        )
    return found if everyone else found[:1]
