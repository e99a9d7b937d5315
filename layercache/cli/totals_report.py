"""Totals of all processes: a summary, a table by place, a small plot by day, or one JSON document."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from layercache.cli import output
from layercache.cli.output import SIZE_WIDTH
from layercache.cli.table import Column, Lines
from layercache.cli.terminal import echo
from layercache.statistics.totals import EARLIER, Day, PlaceTotals, by_day, summed
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    Column("LAYERS", right=True),
    Column("BYTES", right=True),
    Column("NOT PULLED", right=True),
    Column("INFLATING SAVED", right=True),
    Column("PLACE", name=True),
)
DAY = 86400
PLOTTED_DAYS = 14
BAR = 30
"""Characters of the longest bar."""

EIGHTHS = " ▏▎▍▌▋▊▉█"


class Totals(Value, frozen=True):
    """What all processes did: the days that count, and all of them as one. ``since``: the first day."""

    days: list[Day]
    total: Day
    since: str | None

    @classmethod
    def of(cls, lines: Sequence[Day], age: float | None) -> Totals:
        """Those of the last ``age`` seconds, as whole days (UTC); all if it is None."""
        since = None if age is None else _day(time.time() - age)
        days = [day for day in by_day(lines) if since is None or day.day >= since]
        return cls(days, summed(days), since)

    @property
    def hit_rate(self) -> float | None:
        requests = self.total.hits + self.total.fetched
        return self.total.hits / requests if requests else None

    def seconds(self, saved_tar_bytes: int) -> float:
        """Estimated processor time that inflating so many bytes of tars takes here."""
        return saved_tar_bytes / self.total.rate

    def print(self, *, whole: bool) -> None:
        period = f"since {self.since} (UTC)" if self.since else f"since {self._first_day()} (UTC)"
        if self.hit_rate is None:
            echo(f"totals {period}: none" if self.since else "totals: none yet")
            return
        total = self.total
        echo(f"totals {period}")
        echo(f"  hit rate    {self.hit_rate:.0%}: {total.hits} hits, {total.fetched} fetched")
        echo(f"  not pulled  {output.exact(total.saved_bytes)}")
        echo(f"  inflating   about {duration(self.seconds(total.saved_tar_bytes))} saved")
        with Lines(COLUMNS, whole=whole) as lines:
            for place in sorted(total.places, key=lambda place: (place.kind != "tier", -place.blobs)):
                lines.add(*self._cells(place, lines))
        if not lines.whole:
            self._plot()

    def document(self) -> dict[str, Any]:
        return {
            "since": self.since,
            "hit_rate": self.hit_rate,
            **self._numbers(self.total),
            "inflated_bytes": self.total.inflated_bytes,
            "inflating_seconds": self.total.inflating_seconds,
            "inflating_rate": self.total.rate,
            "places": [self._place(place) for place in self.total.places],
            "days": [{"day": day.day or None, **self._numbers(day)} for day in self.days],
        }

    def _numbers(self, day: Day) -> dict[str, Any]:
        return {
            "hits": day.hits,
            "fetched": day.fetched,
            "fetched_bytes": sum(place.bytes for place in day.places if place.kind != "tier"),
            "saved_bytes": day.saved_bytes,
            "saved_seconds": round(self.seconds(day.saved_tar_bytes), 3),
        }

    def _place(self, place: PlaceTotals) -> dict[str, Any]:
        return {
            "kind": place.kind,
            "name": place.name,
            "blobs": place.blobs,
            "bytes": place.bytes,
            "saved_bytes": place.saved_bytes,
            "saved_seconds": round(self.seconds(place.saved_tar_bytes), 3),
        }

    def _cells(self, place: PlaceTotals, lines: Lines) -> tuple[str, ...]:
        if place.kind != "tier":
            return (str(place.blobs), lines.size(place.bytes), output.UNKNOWN, output.UNKNOWN, place.name)
        seconds = self.seconds(place.saved_tar_bytes)
        saved = f"{seconds:.3f}" if lines.whole else duration(seconds)
        return (str(place.blobs), lines.size(place.bytes), lines.size(place.saved_bytes), saved, place.name)

    def _first_day(self) -> str:
        return next((day.day for day in self.days if day.day != EARLIER), "the beginning")

    def _plot(self) -> None:
        """Print a bar for each of the last days, for the bytes that were not pulled."""
        known = {day.day: day.saved_bytes for day in self.days}
        now = time.time()
        last = [_day(now - back * DAY) for back in reversed(range(PLOTTED_DAYS))]
        shown = [day for day in last if day >= min(known)]
        highest = max((known.get(day, 0) for day in shown), default=0)
        if len(shown) < 2 or not highest:
            return
        echo("not pulled, by day")
        for day in shown:
            saved = known.get(day, 0)
            size = output.human(saved) if saved else ""
            echo(f"  {day}  {size:>{SIZE_WIDTH}}  {bar(saved / highest)}".rstrip())


def bar(share: float) -> str:
    """A bar for a share from 0 to 1, in eighths of a character where stdout has them."""
    try:
        EIGHTHS.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return "#" * round(share * BAR)
    whole, rest = divmod(round(share * BAR * 8), 8)
    return "█" * whole + EIGHTHS[rest].strip()


def duration(seconds: float) -> str:
    """Format seconds with the unit that a person would choose: ``41 s``, ``12 min``, ``3.5 h``."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
