"""Totals of all processes of the user, by day and place: what caches did, and what that saved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from layercache.arguments import check_numbers
from layercache.config import environment
from layercache.statistics import file
from layercache.statistics.totals import Day, by_day, summed
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.statistics.counters import PlaceKind


class TotalsOfPlace(Value, frozen=True):
    """What a tier (hits) or a source (misses) supplied; what a tier saved is as in `Totals`."""

    kind: PlaceKind
    name: str
    blobs: int
    bytes: int
    saved_bytes: int
    saved_seconds: float


class TotalsOfDay(Value, frozen=True):
    """The sums of a day (UTC, ``2026-11-27``); ``day`` is None for all that is older than the days kept."""

    day: str | None
    hits: int
    fetched: int
    fetched_bytes: int
    saved_bytes: int
    saved_seconds: float


class Totals(Value, frozen=True):
    """What caches of this user did, in all processes. ``since``: the first day that counts; None for all.

    ``hits``: forms that a tier had. ``fetched``: blobs that came from a source. ``saved_bytes``: of blobs
    that no source had to send; ``saved_seconds``: processor time for inflating, estimated by
    ``inflating_rate`` (bytes of tar a second) to the millisecond.
    """

    since: str | None
    hit_rate: float | None
    hits: int
    fetched: int
    fetched_bytes: int
    saved_bytes: int
    saved_seconds: float
    inflated_bytes: int
    inflating_seconds: float
    inflating_rate: float
    places: tuple[TotalsOfPlace, ...]
    days: tuple[TotalsOfDay, ...]


def totals(*, max_age: float | None = None) -> Totals:
    """The user's totals, or those of the last ``max_age`` seconds, as whole days (UTC). Reads no tier."""
    check_numbers("seconds", max_age=max_age)
    since = None if max_age is None else time.strftime("%Y-%m-%d", time.gmtime(time.time() - max_age))
    days = [day for day in by_day(_lines()) if since is None or day.day >= since]
    total = summed(days)
    requests, sums = total.hits + total.fetched, _of_day(total, total.rate)
    return Totals(
        since=since,
        hit_rate=total.hits / requests if requests else None,
        hits=sums.hits,
        fetched=sums.fetched,
        fetched_bytes=sums.fetched_bytes,
        saved_bytes=sums.saved_bytes,
        saved_seconds=sums.saved_seconds,
        inflated_bytes=total.inflated_bytes,
        inflating_seconds=total.inflating_seconds,
        inflating_rate=total.rate,
        places=tuple(
            TotalsOfPlace(
                place.kind,
                place.name,
                place.blobs,
                place.bytes,
                place.saved_bytes,
                round(place.saved_tar_bytes / total.rate, 3),
            )
            for place in total.places
        ),
        days=tuple(_of_day(day, total.rate) for day in days),
    )


def totals_for_prometheus() -> str:
    """All totals as metrics, in the text format of Prometheus."""
    from layercache.statistics.prometheus import exposition

    return exposition(summed(_lines()))


def reset_totals() -> str | None:
    """Delete the totals. Returns the file that had them, or None if there was none. Raises `OSError`."""
    path = environment.statistics_file()
    return path if path is not None and file.remove(path) else None


def _lines() -> Iterable[Day]:
    path = environment.statistics_file()
    return file.read(path) if path else ()


def _of_day(day: Day, rate: float) -> TotalsOfDay:
    return TotalsOfDay(
        day.day or None,
        day.hits,
        day.fetched,
        sum(place.bytes for place in day.places if place.kind != "tier"),
        day.saved_bytes,
        round(day.saved_tar_bytes / rate, 3),
    )
