"""Loads what every worker needs for its first cold blob, before its clients wait for that."""

from __future__ import annotations

import gc
from importlib import import_module

NEEDED = (
    "layercache.config.registries",
    "layercache.images.opening",
    "layercache.images.registry_images",
    "layercache.registry.client",
    "layercache.registry.on_demand",
    "layercache.registry.read_ahead",
    "layercache.resolver.bringing",
    "layercache.resolver.compressing",
    "layercache.resolver.delivery",
    "layercache.resolver.stage",
    "layercache.sources.registry",
    "layercache.tiers.layout.index_writer",
    "layercache.tiers.layout.refresher",
    "layercache.transfer.transfer",
)
"""Modules that a command imports only when it comes to them."""


def preload() -> None:
    """Import them in the process whose children the workers are: once for all, in memory that they share."""
    for name in NEEDED:
        import_module(name)
    gc.freeze()  # nothing of it is garbage, and to look at it would copy the shared memory
