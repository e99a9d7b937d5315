"""The display: moving bars on a terminal, a line every ten seconds elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.cli.activity import sending
from layercache.cli.terminal import is_live, screen

if TYPE_CHECKING:
    from layercache.cli.activity import Activity
    from layercache.cli.bars import Bars

FIRST = 0.3
"""Seconds for which nothing is shown: most commands end before, and need no display to be imported."""

TICK = 0.1
LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal, so that the log of a CI job is never silent."""


class Display:
    """Shows an `Activity` from its first step until it is closed. A thread draws; work never waits for it."""

    # `screen.lock` guards all attributes but `_ended`: drawing, hiding and printing exclude each other. The
    # thread is a daemon and is not joined: a command that ends does not wait for a display, and after `close`
    # the thread draws no more.

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._live = is_live(sys.stderr)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._bars: Bars | None = None
        self._quiet_until = 0.0

    def start(self) -> None:
        """Begin to show; called with each step."""
        if self._thread is None:
            self._quiet_until = time.monotonic() + (FIRST if self._live else LINE_EVERY)
            self._thread = threading.Thread(target=self._run, name="layercache display", daemon=True)
            with suppress(RuntimeError):  # no more threads: then nothing is shown
                self._thread.start()

    def hide(self) -> None:
        """Something is printed. Called with the screen's lock held."""
        if self._bars is not None:
            self._bars.hide()
        self._quiet_until = max(self._quiet_until, time.monotonic() + (TICK if self._live else LINE_EVERY))

    def close(self) -> None:
        with screen.lock:
            self._ended.set()
            self.hide()

    def _run(self) -> None:
        while not self._ended.wait(max(TICK, self._quiet_until - time.monotonic())):
            if self._live and self._activity.current is not None:
                import layercache.cli.bars  # noqa: F401  # takes long: not with the lock held
            with screen.lock:
                if self._ended.is_set() or time.monotonic() < self._quiet_until:
                    continue
                if not self._live:
                    self._print_line()
                elif self._activity.current is None or screen.lent:
                    if self._bars is not None:
                        self._bars.hide()
                else:
                    self._draw()

    def _draw(self) -> None:
        from layercache.cli.bars import Bars

        if self._bars is None:
            self._bars = Bars(self._activity)
        self._bars.draw(time.monotonic())

    def _print_line(self) -> None:
        self._quiet_until = time.monotonic() + LINE_EVERY
        if (step := self._activity.current) is None:
            return
        waits = [transfer.words for transfer in self._activity.running if transfer.waits][:1]
        parts = [step.text, str(step) if step.done or step.total else "", *waits, *self._uploads(step.text)]
        line = f"layercache: {', '.join(filter(None, parts))}"
        import click

        with suppress(OSError):  # nobody reads stderr any more
            click.echo(line, err=True, color=False)

    def _uploads(self, shown: str) -> list[str]:
        text = sending(self._activity.uploads())
        return [text] if text and not shown.startswith(text) else []
