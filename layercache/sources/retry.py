"""Failures that may pass, and how long to wait for that."""

from __future__ import annotations

import email.utils
import random
import time
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ResultT = TypeVar("ResultT")

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
LONGEST_OBEYED = 30.0
"""Seconds of a Retry-After that are waited at most: a server must not be able to stall a pull for ever."""


class TransientError(SourceError):
    """A failure that may pass: unreachable, overloaded, broken off. ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Retries:
    """Tries anew, up to ``count`` times, with waits that double from `FIRST_WAIT` and are not all equal."""

    def __init__(self, count: int, sleep: Callable[[float], object]) -> None:
        self.count = count
        self._sleep = sleep

    def run(self, action: Callable[[], ResultT]) -> ResultT:
        """The action's result. Raises the last `TransientError`, and any other error at once."""
        for attempt in range(self.count):
            try:
                return action()
            except TransientError as error:
                self.wait(attempt, error.retry_after)
        return action()

    def wait(self, attempt: int, retry_after: float | None = None) -> None:
        """Wait before the next try; ``attempt`` counts from 0."""
        if retry_after is not None:
            self._sleep(min(max(retry_after, 0.0), LONGEST_OBEYED))
            return
        longest = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
        self._sleep(random.uniform(longest / 2, longest))  # noqa: S311 # spreads clients, hides nothing


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as a server wishes (RFC 9110, 10.2.3: a number of them, or a date)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None
