"""Upkeep of a tier by hand: `prune` removes what is too much, too old or dead, `verify` looks for damage."""

from __future__ import annotations

from layercache.upkeep.prune import Pruned, Removed, prune
from layercache.upkeep.quarantine import put_aside
from layercache.upkeep.sample import Sample
from layercache.upkeep.selection import stores_of
from layercache.upkeep.verify import Checked, verify

__all__ = ["Checked", "Pruned", "Removed", "Sample", "prune", "put_aside", "stores_of", "verify"]
