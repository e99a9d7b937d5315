"""Draws an activity on a terminal, with rich, which takes long to import: only a display that shows does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from layercache.cli.activity import Transfer
from layercache.cli.output import human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from layercache.cli.activity import Activity, Amount

TRANSFERS = 8
"""Transfers that are shown, at most; a pull runs so many by default."""

WORDS = 60
"""Columns that a line needs for what is not its bar."""

LONGEST_BAR = 40


class Bars:
    """The lines at the bottom of the terminal. Used by one thread at a time."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._console = Console(stderr=True, highlight=False)
        unicode = self._console.encoding.lower().startswith("utf")
        self._spinner = Spinner("dots" if unicode else "line")
        self._sent: dict[str, Transfer] = {}
        self._live: Live | None = None

    def draw(self, now: float) -> None:
        if self._live is None:
            # Redirecting would send what is printed on stdout to stderr. `Screen` keeps the two apart.
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self._lines(now), refresh=True)

    def hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self, now: float) -> RenderableType:
        step = self._activity.current
        if step is None:
            return Text()
        for each in (step, *self._activity.running):
            each.sample(now)
        uploads = self._uploads(now)
        text = step.text
        last = bool(uploads) and text.startswith("sending ")
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, Text(text if last else f"{text}  {clock(now - step.begun)}"))
        bars = Table.grid(padding=(0, 1))
        wide = max(5, min(LONGEST_BAR, self._console.width - WORDS))
        for words, each in self._rows(step, uploads, last=last):
            bars.add_row(
                Text(words, no_wrap=True, overflow="ellipsis"),
                ProgressBar(each.total, each.done, width=wide, pulse=each.total is None, animation_time=now),
                Text(str(each), no_wrap=True, justify="right"),
                Text(speed(each), no_wrap=True),
            )
        return Group(head, bars) if bars.row_count else head

    def _rows(self, step: Amount, uploads: list[Transfer], *, last: bool) -> Iterator[tuple[str, Amount]]:
        if step.total or step.done:
            yield "  in all", step
        for transfer in self._activity.running[:TRANSFERS]:
            yield f"  {transfer.words}", transfer
        for upload in uploads:
            yield "  " if last else f"  {upload.words}", upload

    def _uploads(self, now: float) -> list[Transfer]:
        """What is sent to each tier. The same objects each time, since they remember their rates."""
        found = []
        for each in self._activity.uploads():
            if each.left and each.total:
                shown = self._sent.setdefault(each.where, Transfer(words=f"to {each.where}"))
                shown.total, shown.done = each.total, each.sent
                shown.sample(now)
                found.append(shown)
        return found


def clock(seconds: float) -> str:
    """``0:07``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def speed(each: Amount) -> str:
    """``12.3 MB/s, 0:03 left``; empty if nothing moves."""
    rate = each.rate
    if not rate:
        return ""
    left = f", {clock((each.total - each.done) / rate)} left" if each.total and each.total > each.done else ""
    return f"{human(round(rate))}/s{left}"
