"""How long a service is retried: by what it answers, and by progress."""

from __future__ import annotations

import asyncio

import pytest

from layercache_backends.objects import deadline
from layercache_backends.objects.deadline import LIMITED_SECONDS, Deadline
from layercache_backends.objects.service import Failure, Kind

LIMITED = Failure(Kind.LIMITED, "SlowDown")
BUSY = Failure(Kind.BUSY, "InternalError")
TIMEOUT = 10.0


class Clock:
    """Time that passes by sleeping alone. ``pauses``: what was slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deadline, "monotonic", lambda: clock.now)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    return clock


def wait(patience: Deadline, failure: Failure) -> int:
    """Retry until it is given up; how many retries that were."""
    retries = 0
    while asyncio.run(_once(patience, failure)):
        retries += 1
    return retries


async def _once(patience: Deadline, failure: Failure) -> bool:
    return await patience.again(failure)


def test_a_service_that_limits_requests_is_asked_for_a_minute(clock: Clock) -> None:
    retries = wait(Deadline(TIMEOUT), LIMITED)
    assert LIMITED_SECONDS - 10 <= sum(clock.pauses) <= LIMITED_SECONDS
    assert retries <= 20
    assert max(clock.pauses) <= 10


def test_a_longer_timeout_counts_for_a_service_that_limits_requests(clock: Clock) -> None:
    wait(Deadline(200), LIMITED)
    assert 190 <= sum(clock.pauses) <= 200


def test_a_service_that_fails_is_asked_until_the_timeout(clock: Clock) -> None:
    wait(Deadline(TIMEOUT), BUSY)
    assert TIMEOUT - 2 <= sum(clock.pauses) <= TIMEOUT
    assert max(clock.pauses) <= 2


def test_a_service_that_fails_after_it_has_limited_requests_has_the_timeout_again(clock: Clock) -> None:
    patience = Deadline(TIMEOUT)
    for _ in range(6):
        assert asyncio.run(_once(patience, LIMITED))
    limited = sum(clock.pauses)
    wait(patience, BUSY)
    assert TIMEOUT - 2 <= sum(clock.pauses) - limited <= TIMEOUT


def test_after_progress_a_service_may_limit_requests_for_another_minute(clock: Clock) -> None:
    patience = Deadline(TIMEOUT)
    wait(patience, LIMITED)
    patience.progress()
    clock.pauses.clear()
    wait(patience, LIMITED)
    assert sum(clock.pauses) >= LIMITED_SECONDS - 10
