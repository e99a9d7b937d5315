"""Signals for a worker that is starting: they wait until it can act on them."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

END_EVENTS = signal.SIGUSR1
"""Sent to a worker before SIGTERM, at which the server below waits for all answers to end."""

HELD = (signal.SIGTERM, END_EVENTS)


@contextmanager
def held() -> Iterator[None]:
    """Start processes in this block that get no such signal before they call `release`.

    Without that, SIGTERM at a bad moment is lost: a handler of the first process would run in the worker, or
    the event loop's own before the loop runs. Such a worker would go on with the former configuration.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """Let those signals come, also those that have waited."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
