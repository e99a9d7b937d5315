"""Random samples."""

from __future__ import annotations

from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_random = SystemRandom()  # it has no state, so a fork copies none


@dataclass(frozen=True, slots=True)
class Sample:
    """A ``share`` of all items, from 0 to 1, or a ``count`` of them. Only a count is held in memory."""

    share: float = 1.0
    count: int | None = None

    def of(self, items: Iterable[T]) -> Iterator[T]:
        if self.count is not None:
            return iter(self._reservoir(items, self.count))
        if self.share >= 1:
            return iter(items)
        return (item for item in items if _random.random() < self.share)

    @staticmethod
    def _reservoir(items: Iterable[T], count: int) -> list[T]:
        # Vitter's algorithm R: each item is kept with the same probability, however many there are.
        held: list[T] = []
        for number, item in enumerate(items):
            if number < count:
                held.append(item)
            elif (place := _random.randrange(number + 1)) < count:
                held[place] = item
        return held
