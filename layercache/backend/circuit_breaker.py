"""A circuit breaker: something that failed is not tried again for a while."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

_WhyT = TypeVar("_WhyT")


class CircuitBreaker(Generic[_WhyT]):
    """Open for ``seconds`` after a failure: until then ``why`` says what failed, and nothing should be tried.

    Thread-safe without a lock: all that it holds is one reference, which is replaced whole. Of two threads
    that open it at the same time the later one counts; both were right that something failed. An error that
    is given as the reason is kept, with its traceback and what that holds, until the breaker is opened again
    or closed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._opened: tuple[float, _WhyT] | None = None

    @property
    def why(self) -> _WhyT | None:
        """What failed while the breaker is open; None where another try may be made."""
        opened = self._opened
        return None if opened is None or time.monotonic() >= opened[0] else opened[1]

    @property
    def is_open(self) -> bool:
        opened = self._opened
        return opened is not None and time.monotonic() < opened[0]

    def open(self, why: _WhyT, *, seconds: float | None = None) -> None:
        """Something failed. ``seconds``: another time than usual; `math.inf` for good."""
        self._opened = time.monotonic() + (self._seconds if seconds is None else seconds), why

    def close(self) -> None:
        """Another try may be made at once."""
        self._opened = None
