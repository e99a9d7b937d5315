"""A copy from one tier to another, and what is to be done after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend.capabilities import LocalPath
from layercache.copy.copier import Copy
from layercache.errors import BackendError
from layercache.events import Event
from layercache.oci.forms import COMPRESSED
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.layout.index_writer import write_index

if TYPE_CHECKING:
    from layercache.copy.report import Copied
    from layercache.copy.selection import Selection
    from layercache.events import Observers
    from layercache.tiers.tier import Tier


def copy_to(
    selection: Selection, source: Tier, target: Tier, *, jobs: int, dry_run: bool, observers: Observers
) -> Copied:
    """Copy what the target lacks of a selection. Raises as `Copy.run`.

    That index.json of a folder could not be written is a ``failed`` event: it is derived from the rest.
    """
    done = Copy(source, target, selection, jobs=jobs, dry_run=dry_run, observers=observers).run()
    if not dry_run and done.is_any and (problem := refresh_index(target)):
        observers.emit(Event("failed", None, COMPRESSED, target.name, note=problem))
    return done


def refresh_index(tier: Tier) -> str:
    """Update index.json of a folder, so that other tools see what was copied; why that failed, if it did."""
    if isinstance(tier, BackendTier) and isinstance(tier.backend, LocalPath):
        try:
            write_index(tier)
        except BackendError as error:
            return f"index.json was not written: {error.message}"
    return ""
