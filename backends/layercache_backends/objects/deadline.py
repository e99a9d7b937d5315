"""How long to wait for a service and how often to retry, measured by progress and not by attempts."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from math import inf
from time import monotonic  # asyncio's clock, too
from typing import TYPE_CHECKING

from layercache_backends.objects.service import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from layercache_backends.objects.service import Failure

_TRIES = {Kind.LIMITED: 1000, Kind.BUSY: 1000, Kind.BROKEN: 1000, Kind.UNREACHABLE: 2}
"""Maximum number of retries without progress; usually the timeout ends them earlier."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_LONGEST_PAUSE_LIMITED = 10.0

LIMITED_SECONDS = 60.0
"""How long a service may limit requests, if the timeout is not longer.

A fleet that overloads a bucket is served in turn within this time. Machines that give up sooner, and fetch
everything from the registry, make all of them wait for the registry's line (docs/scale.md).
"""


class Deadline:
    """Expires after this many seconds without progress, whatever was tried in between.

    ``spent``: seconds that have already passed of the first period.
    """

    def __init__(self, seconds: float, spent: float = 0.0) -> None:
        self.seconds = seconds
        self.may_renew = True
        """Whether expired credentials may be renewed: once without progress."""
        self._tries = 0
        self._guard: asyncio.Timeout | None = None
        self._deadline = monotonic() + seconds - spent
        self._limited_until = 0.0

    def progress(self) -> None:
        """Record that bytes were received or sent: restart the time."""
        self.may_renew = True
        self._tries = 0
        self._limited_until = 0.0
        self._set(monotonic() + self.seconds)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time inside the block, which waits for something else than the service."""
        left = self._deadline - monotonic()
        self._set(inf)
        try:
            yield
        finally:
            self._set(monotonic() + left)

    def _set(self, deadline: float) -> None:
        self._deadline = deadline
        if self._guard:
            self._guard.reschedule(None if deadline == inf else deadline)

    async def __aenter__(self) -> None:
        """Raise `TimeoutError` in the block if there is no progress for too long."""
        self._guard = asyncio.timeout_at(None if self._deadline == inf else self._deadline)
        await self._guard.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        guard, self._guard = self._guard, None
        assert guard is not None
        await guard.__aexit__(kind, error, trace)

    @property
    def over(self) -> bool:
        return monotonic() >= self._deadline

    async def again(self, failure: Failure) -> bool:
        """Return whether to retry after this failure, after a pause that grows each time."""
        if self._tries >= _TRIES.get(failure.kind, 0):
            return False
        is_limited = failure.kind is Kind.LIMITED
        longest = _LONGEST_PAUSE_LIMITED if is_limited else _LONGEST_PAUSE
        # Jitter, so that clients that were refused together do not return together.
        pause = min(_FIRST_PAUSE * 2**self._tries, longest) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        if is_limited:
            self._extend(pause)
        if monotonic() + pause >= self._deadline:
            return False
        self._tries += 1
        await asyncio.sleep(pause)
        return True

    def _extend(self, pause: float) -> None:
        """Give a service that limits requests the timeout again after the pause, since it has responded."""
        now = monotonic()
        self._limited_until = self._limited_until or now + max(self.seconds, LIMITED_SECONDS)
        is_over = now + pause >= self._limited_until
        self._set(now if is_over else now + pause + self.seconds)
