"""What a copy did, as far as it has got."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.errors import BackendError

if TYPE_CHECKING:
    from layercache.errors import LayercacheError

FAILURES_KEPT = 1000
"""Failures that are kept to be shown; the rest is counted."""

FAILURES_IN_A_ROW = 8
"""Entries that cannot be read one after the other until the source is said to be out of order."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry of the source that was passed over, and why."""

    name: str
    error: LayercacheError


@dataclass(slots=True)
class Report:
    """Counts are of entries, bytes those of their blobs. In a dry run: what would be done.

    ``made``: tars that were inflated on the way. ``there``: blobs that the target had. ``absent``: blobs of
    a wanted image that the source has not. ``kept``: tags that name something else in the target, and stay,
    since the source is not trusted. ``wrong``: entries of the source that are not what their name
    says; ``unreadable``: those that its store did not give. Both were passed over.
    """

    copied: int = 0
    copied_bytes: int = 0
    made: int = 0
    made_bytes: int = 0
    facts: int = 0
    images: int = 0
    there: int = 0
    absent: int = 0
    kept: int = 0
    wrong: int = 0
    unreadable: int = 0
    failures: list[Failure] = field(default_factory=list)
    _in_a_row: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        with self._lock:
            self._in_a_row = 0
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def fail(self, name: str, error: LayercacheError) -> None:
        """An entry is passed over. Raises the error where the source gives nothing any more."""
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
