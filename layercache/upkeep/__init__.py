"""Upkeep of a tier by hand: `prune` evicts, `clean` removes all, `verify` looks for damage."""

from __future__ import annotations

from layercache.upkeep.clean import Cleaned, clean, count_all
from layercache.upkeep.prune import Pruned, Removed, prune
from layercache.upkeep.quarantine import put_aside
from layercache.upkeep.sample import Sample
from layercache.upkeep.selection import stores_of
from layercache.upkeep.verify import Checked, verify
from layercache.upkeep.verify_stores import verify_stores

__all__ = [
    "Checked",
    "Cleaned",
    "Pruned",
    "Removed",
    "Sample",
    "clean",
    "count_all",
    "prune",
    "put_aside",
    "stores_of",
    "verify",
    "verify_stores",
]
