"""Failures that may pass, and how long to wait for that."""

from __future__ import annotations

import email.utils
import random
import re
import time
from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ResultT = TypeVar("ResultT")

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
LONGEST_OBEYED = 30.0
"""Maximum seconds of a Retry-After to obey: a server must not be able to stall a pull."""
RATE_LIMIT_SECONDS = 60.0
"""Seconds to wait in all for a server that limits requests, by default."""


class TransientError(SourceError):
    """A transient failure: unreachable, overloaded, broken off. ``retry_after`` is in seconds.

    ``limited``: the server takes no more requests for now, and did not do what was asked (429).
    """

    def __init__(
        self, message: str, *, hint: str = "", retry_after: float | None = None, limited: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.limited = limited


class Retries:
    """Retries up to ``count`` times, with waits that double from `FIRST_WAIT`, with jitter.

    A server that limits requests is retried for longer: until ``patience`` seconds were waited.
    """

    def __init__(
        self, count: int, sleep: Callable[[float], object], patience: float = RATE_LIMIT_SECONDS
    ) -> None:
        self.count = count
        self._sleep = sleep
        self._patience = patience

    def run(self, action: Callable[[], ResultT], *, limited_only: bool = False) -> ResultT:
        """Return the action's result. Raises the last `TransientError`, and any other error at once.

        ``limited_only``: repeat the action only if the server has surely done nothing (429).
        """
        attempt, waited = 0, 0.0
        while True:
            try:
                return action()
            except TransientError as error:
                left = self._patience - waited
                if limited_only and not error.limited:
                    raise
                if attempt >= self.count and not (self.count and error.limited and left > 0):
                    raise
                longest = LONGEST_OBEYED if attempt < self.count else left
                waited += self.wait(attempt, error.retry_after, longest)
                attempt += 1

    def wait(self, attempt: int, retry_after: float | None = None, longest: float = LONGEST_OBEYED) -> float:
        """Wait before the next try; ``attempt`` counts from 0. Returns the seconds.

        A ``retry_after`` of nothing, or of less than would be waited without it, is not obeyed: a server
        that is asked again at once only has more to refuse.
        """
        doubled = min(FIRST_WAIT * 2 ** min(attempt, 16), LONGEST_WAIT)
        pause = random.uniform(doubled / 2, doubled)  # noqa: S311 # spreads clients, hides nothing
        pause = min(max(pause, retry_after or 0.0), longest, LONGEST_OBEYED)
        self._sleep(pause)
        return pause


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as a server wishes (RFC 9110, 10.2.3: a number of them, or a date).

    Decimals, which the RFC does not know, are understood too.
    """
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value[:9])
    try:
        date = email.utils.parsedate_to_datetime(value)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
