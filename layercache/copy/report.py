"""What a copy has done so far."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.errors import BackendError

if TYPE_CHECKING:
    from layercache.errors import LayercacheError

FAILURES_KEPT = 1000
"""Failures that are kept for display; more are only counted."""

FAILURES_IN_A_ROW = 8
"""Consecutive entries that cannot be read before the whole source counts as failed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry of the source that was skipped, and why."""

    name: str
    error: LayercacheError


@dataclass(slots=True)
class Copied:
    """Counts of entries, and bytes of their blobs. In a dry run: what would be done.

    ``made``: tars that were inflated during the copy. ``indexes``: tables of files, and seek indexes.
    ``present``: blobs that the target already had. ``missing``: blobs of a selected image that the source
    lacks. ``tags_kept``: tags of the target that an untrusted source would have changed. ``wrong``: entries
    of the source that do not match their name; ``unreadable``: entries that its store failed to return.
    Both were skipped.
    """

    copied: int = 0
    copied_bytes: int = 0
    made: int = 0
    made_bytes: int = 0
    records: int = 0
    indexes: int = 0
    images: int = 0
    present: int = 0
    missing: int = 0
    tags_kept: int = 0
    wrong: int = 0
    unreadable: int = 0
    failures: list[Failure] = field(default_factory=list)
    _in_a_row: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def is_any(self) -> bool:
        """Whether anything was written to the target."""
        return bool(self.copied or self.made or self.records or self.images)

    def add(self, **counts: int) -> None:
        with self._lock:
            self._in_a_row = 0
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def fail(self, name: str, error: LayercacheError) -> None:
        """Record a skipped entry. Raises the error if too many in a row could not be read."""
        with self._lock:
            if isinstance(error, BackendError):
                self.unreadable += 1
                self._in_a_row += 1
            else:
                self.wrong += 1
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(Failure(name, error))
            if self._in_a_row >= FAILURES_IN_A_ROW:
                raise error
