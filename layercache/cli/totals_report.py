"""Totals of all processes, printed: a summary, a table by place, a small plot by day."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from layercache.cli import output
from layercache.cli.output import SIZE_WIDTH
from layercache.cli.table import Column, Lines
from layercache.cli.terminal import echo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.config.totals import Totals, TotalsOfDay, TotalsOfPlace

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


def show(totals: Totals, *, whole: bool) -> None:
    """Print a summary, a table by place, and a plot of the last days."""
    first = totals.since or next((day.day for day in totals.days if day.day), "the beginning")
    period = f"since {first} (UTC)"
    if totals.hit_rate is None:
        echo(f"totals {period}: none" if totals.since else "totals: none yet")
        return
    echo(f"totals {period}")
    echo(f"  hit rate    {totals.hit_rate:.0%}: {totals.hits} hits, {totals.fetched} fetched")
    echo(f"  not pulled  {output.exact(totals.saved_bytes)}")
    echo(f"  inflating   about {duration(totals.saved_seconds)} saved")
    with Lines(COLUMNS, whole=whole) as lines:
        for place in sorted(totals.places, key=lambda place: (place.kind != "tier", -place.blobs)):
            lines.add(*_cells(place, lines))
    if not lines.whole:
        _plot(totals.days)


def _cells(place: TotalsOfPlace, lines: Lines) -> tuple[str, ...]:
    if place.kind != "tier":
        return (str(place.blobs), lines.size(place.bytes), output.UNKNOWN, output.UNKNOWN, place.name)
    saved = f"{place.saved_seconds:.3f}" if lines.whole else duration(place.saved_seconds)
    return (str(place.blobs), lines.size(place.bytes), lines.size(place.saved_bytes), saved, place.name)


def _plot(days: Sequence[TotalsOfDay]) -> None:
    """Print a bar for each of the last days, for the bytes that were not pulled."""
    known = {day.day or "": day.saved_bytes for day in days}
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
