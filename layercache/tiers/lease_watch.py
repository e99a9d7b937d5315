"""What a machine that waits for another one's fetch makes of the lease: wait on, take over, or fetch itself.

Pure logic: it asks no store and no clock, so that tests and simulations can run it in a time of their own.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.tiers.lease import SeenLease

SILENCE = 15.0
"""Seconds after the last change of a lease until it is taken over: the holder was killed, or cut off."""

STANDSTILL = 30.0
"""Seconds without another byte until a lease is taken over, even if it is renewed."""

HOLDERS = 3
"""Holders for which a machine waits, one after the other: perhaps none of them can store the blob."""

SHORTEST_LIMIT = 60.0
SLOWEST = 2 << 20
LONGEST_LIMIT = 3600.0
"""A machine waits at most `SHORTEST_LIMIT` seconds, and the blob's size at `SLOWEST` bytes a second, but
never more than `LONGEST_LIMIT`, whatever the lease states: anybody who can write to the tier can renew one
without limit, and the manifest of an image states the size."""

FIRST_PAUSE = 0.2
GROWTH = 1.5
LONGEST_PAUSE = 2.5
"""Seconds between two polls: the pauses grow from the first to the longest one."""

JITTER = 0.25
"""By how much of itself a pause is shorter or longer, at random: machines that began together drift apart."""

SPREAD = 1.0
"""Seconds over which those who see the same silence are spread before they try to take over."""

Verdict = Literal["wait", "take", "alone"]


class Watch:
    """One waiter's view of one lease. Times are seconds of any clock that never goes back.

    Whether a lease is alive depends on changes that this waiter sees, and on no clock but its own: so clocks
    that differ by hours do not matter. ``size``: bytes of the blob; ``now``: when the waiting begins;
    ``uniform`` draws a number between two others.
    """

    def __init__(
        self, size: int, now: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._uniform = uniform
        self._limit = now + min(SHORTEST_LIMIT + size / SLOWEST, LONGEST_LIMIT)
        self._token = ""
        self._holders = 0
        self._pause = FIRST_PAUSE
        self._version: str | None = None
        self._moved = 0
        self._silent_at = self._still_at = now

    def judge(self, seen: SeenLease, now: float) -> Verdict:
        """What follows from what is there now: wait, try to take the lease, or fetch without one."""
        lease = seen.lease
        if now >= self._limit:
            return "alone"
        if lease is None:  # an object that says nothing is nobody's sign of life
            return "take"
        if lease.token != self._token:
            self._holders += 1
            if self._holders > HOLDERS:
                return "alone"
            self._token, self._moved, self._pause = lease.token, -1, FIRST_PAUSE
        if seen.version != self._version:
            self._version, self._silent_at = seen.version, now + SILENCE + self._spread()
        if lease.moved > self._moved:
            self._moved, self._still_at = lease.moved, now + STANDSTILL + self._spread()
        return "take" if now >= min(self._silent_at, self._still_at) else "wait"

    def pause(self, now: float) -> float:
        """Seconds until the next poll."""
        pause = self._pause * self._uniform(1 - JITTER, 1 + JITTER)
        self._pause = min(self._pause * GROWTH, LONGEST_PAUSE)
        # Not beyond the moment at which the lease would have to be taken over.
        due = min(self._silent_at, self._still_at, self._limit) - now
        return min(pause, due) if due > 0 else pause

    def _spread(self) -> float:
        return self._uniform(0, SPREAD)
