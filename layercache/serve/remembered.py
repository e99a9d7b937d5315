"""What a worker remembers for a while, so that neither tiers nor upstreams are asked for it again."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

ValueT = TypeVar("ValueT")


class _Entry(NamedTuple, Generic[ValueT]):
    """A value that holds until then (monotonic seconds)."""

    until: float
    weight: int
    value: ValueT


class Remembered(Generic[ValueT]):
    """Values that hold for some seconds, by key. Thread-safe.

    ``most``: the weight of all of them at most; those that were put first go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Guards that the weight is the sum of the entries'. Reading takes no lock: to look up an entry is one
        # step, and entries never change.
        self._lock = threading.Lock()
        self._weight = 0
        self._entries: dict[Hashable, _Entry[ValueT]] = {}

    def get(self, key: Hashable) -> ValueT | None:
        entry = self._entries.get(key)
        return None if entry is None or entry.until <= time.monotonic() else entry.value

    def left(self, key: Hashable) -> float:
        """Seconds for which the value still holds; 0 if there is none."""
        entry = self._entries.get(key)
        return 0.0 if entry is None else max(0.0, entry.until - time.monotonic())

    def put(self, key: Hashable, value: ValueT, seconds: float, *, weight: int = 1) -> None:
        """Remember a value, unless it holds for no time, or is heavier than all may be."""
        with self._lock:
            self._remove(key)
            if seconds <= 0 or weight > self._most:
                return
            self._entries[key] = _Entry(time.monotonic() + seconds, weight, value)
            self._weight += weight
            while self._weight > self._most:
                self._remove(next(iter(self._entries)))

    def forget(self, key: Hashable) -> None:
        with self._lock:
            self._remove(key)

    def _remove(self, key: Hashable) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._weight -= entry.weight
