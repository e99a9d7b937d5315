"""Unfinished writes and forgotten leases of a store: counted, for those who decide whether to prune."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import Leftover
from layercache.backend.capabilities import CountedLeftovers
from layercache.errors import ForbiddenError
from layercache.tiers import keys
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.backend import Backend

DAY = 86400.0
_UNITS = (("d", DAY), ("h", 3600.0), ("m", 60.0))


class LeftoverCount(Value, frozen=True):
    """``bytes``: None where the store does not state them; ``oldest``: seconds since the first of them was
    begun, None where there are none.
    """

    count: int
    bytes: int | None
    oldest: float | None

    def __str__(self) -> str:
        if self.oldest is None:
            return "none"
        size = "" if self.bytes is None else f", {self.bytes / 1e6:.1f} MB"
        unit, seconds = next((each for each in _UNITS if self.oldest >= each[1]), ("s", 1.0))
        return f"{self.count}{size}, the oldest begun {self.oldest // seconds:.0f}{unit} ago"


def count_leftovers(backend: Backend) -> LeftoverCount | None:
    """The unfinished writes and leases of a store; None if it cannot list them. Raises `BackendError`."""
    if not isinstance(backend, CountedLeftovers):
        return None
    leases = (Leftover(entry.modified, entry.size) for entry in backend.scan(keys.LEASES))
    found = [*backend.leftovers(), *leases]
    sizes = [each.size for each in found if each.size is not None]
    now = time.time()
    return LeftoverCount(
        len(found),
        sum(sizes) if len(sizes) == len(found) else None,
        max((max(now - each.began, 0.0) for each in found), default=None),
    )


def remove_leases(backend: Backend, older_than: float) -> int:
    """Remove leases that were not renewed for so many seconds; return how many. Raises `BackendError`."""
    now, removed = time.time(), 0
    for entry in list(backend.scan(keys.LEASES)):
        if now - entry.modified >= older_than:
            with suppress(ForbiddenError):  # another user's: that user's prune removes it
                backend.delete(entry.key)
                removed += 1
    return removed
