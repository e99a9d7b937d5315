"""Totals of all processes of a user, by day and place: lines that are added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from layercache.statistics.counters import PlaceKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.statistics.counters import Counters

DAYS = 400
"""Days that are kept one by one. Older ones are added up."""

PLACES = 16
"""Places that a day keeps by name, those with the most bytes; the rest is added up by kind, as `OTHERS`."""

EARLIER = ""
"""The day of what is older than all the days that are kept."""

OTHERS = "others"
NAME_MAX = 200

RATE = 300_000_000
"""Bytes of tar that a core inflates in a second, until it was measured for `MEASURED_FROM` bytes."""

MEASURED_FROM = 64_000_000

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
SECONDS_MAX = 1e12
"""No sum of lines is infinite: a rate is divided by."""


class PlaceTotals(msgspec.Struct, array_like=True):
    """As `PlaceCounters`, for a day of all processes."""

    kind: PlaceKind
    name: str
    blobs: Count = 0
    bytes: Count = 0
    saved_bytes: Count = 0
    saved_tar_bytes: Count = 0

    def add(self, other: PlaceTotals) -> None:
        self.blobs += other.blobs
        self.bytes += other.bytes
        self.saved_bytes += other.saved_bytes
        self.saved_tar_bytes += other.saved_tar_bytes


class Day(msgspec.Struct, omit_defaults=True):
    """What happened on a day (UTC, ``2026-11-27``), or `EARLIER`: one line of the file."""

    day: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]
    places: list[PlaceTotals] = []
    inflated_bytes: Count = 0
    inflating_seconds: Annotated[float, msgspec.Meta(ge=0, le=SECONDS_MAX)] = 0.0

    @classmethod
    def of(cls, day: str, done: Counters) -> Day:
        """What one process did, which is counted for this day."""
        places = [
            PlaceTotals(
                each.kind,
                each.name[:NAME_MAX],
                each.blobs,
                each.bytes,
                each.saved_bytes,
                each.saved_tar_bytes,
            )
            for each in done.places
        ]
        return cls(day, places, done.inflated_bytes, done.inflating_seconds)

    @property
    def hits(self) -> int:
        return sum(each.blobs for each in self.places if each.kind == "tier")

    @property
    def fetched(self) -> int:
        return sum(each.blobs for each in self.places if each.kind != "tier")

    @property
    def saved_bytes(self) -> int:
        return sum(each.saved_bytes for each in self.places)

    @property
    def saved_tar_bytes(self) -> int:
        return sum(each.saved_tar_bytes for each in self.places)

    @property
    def rate(self) -> float:
        """Bytes of tar that were inflated in a second; `RATE` until enough was measured."""
        if self.inflated_bytes < MEASURED_FROM or not self.inflating_seconds:
            return RATE
        return self.inflated_bytes / self.inflating_seconds


def summed(days: Iterable[Day], day: str = EARLIER, *, places: int | None = None) -> Day:
    """All of them as one. ``places``: how many are kept by name, those with most bytes; by default all."""
    total = Day(day)
    found: dict[tuple[PlaceKind, str], PlaceTotals] = {}
    for each in days:
        total.inflated_bytes += each.inflated_bytes
        total.inflating_seconds += each.inflating_seconds
        _add(found, each.places)
    kept = sorted(found.values(), key=lambda place: max(place.bytes, place.saved_bytes), reverse=True)
    found = {(place.kind, place.name): place for place in kept[:places]}
    for place in kept[len(found) :]:
        place.name = OTHERS
        _add(found, [place])
    total.places = list(found.values())
    return total


def _add(found: dict[tuple[PlaceKind, str], PlaceTotals], places: Iterable[PlaceTotals]) -> None:
    for place in places:
        known = found.setdefault((place.kind, place.name), PlaceTotals(place.kind, place.name))
        known.add(place)


def by_day(lines: Iterable[Day]) -> list[Day]:
    """One for each day, oldest first."""
    days: dict[str, list[Day]] = {}
    for line in lines:
        days.setdefault(line.day, []).append(line)
    return [summed(days[day], day) for day in sorted(days)]


def compacted(lines: Iterable[Day], newest: int = DAYS) -> list[Day]:
    """One for each of the newest days, and one for all that is older, each with few places."""
    days = [summed([day], day.day, places=PLACES) for day in by_day(lines)]
    old = [day for day in days[:-newest] if day.day != EARLIER] + [day for day in days if day.day == EARLIER]
    rest = [day for day in days[-newest:] if day.day != EARLIER]
    return [summed(old, places=PLACES), *rest] if old else rest
