"""What unfinished writes take up in a store: counted, for those who decide whether to prune."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.backend.capabilities import CountedLeftovers

if TYPE_CHECKING:
    from layercache.backend import Backend

DAY = 86400.0
_UNITS = (("d", DAY), ("h", 3600.0), ("m", 60.0))


@dataclass(frozen=True, slots=True)
class LeftoverCount:
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
    """The unfinished writes of a store; None for one that cannot list them. Raises `BackendError`."""
    if not isinstance(backend, CountedLeftovers):
        return None
    found = list(backend.leftovers())
    sizes = [each.size for each in found if each.size is not None]
    now = time.time()
    return LeftoverCount(
        len(found),
        sum(sizes) if len(sizes) == len(found) else None,
        max((max(now - each.began, 0.0) for each in found), default=None),
    )
