"""A circuit breaker is open for a while after a failure, and for no longer."""

from __future__ import annotations

import math

import pytest

from layercache.backend import CircuitBreaker


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [100.0]
    monkeypatch.setattr("layercache.backend.circuit_breaker.time.monotonic", lambda: now[0])
    return now


def test_it_is_open_for_its_time_after_a_failure_and_says_why(clock: list[float]) -> None:
    breaker: CircuitBreaker[str] = CircuitBreaker(30)
    assert not breaker.is_open
    breaker.open("the disk is full")
    clock[0] += 29.9
    assert breaker.is_open
    assert breaker.why == "the disk is full"
    clock[0] += 0.1
    assert not breaker.is_open
    assert breaker.why is None


def test_a_failure_while_it_is_open_starts_the_time_again(clock: list[float]) -> None:
    breaker: CircuitBreaker[str] = CircuitBreaker(30)
    breaker.open("first")
    clock[0] += 20
    breaker.open("second")
    clock[0] += 20
    assert breaker.why == "second"


def test_one_that_is_opened_for_good_stays_open_until_it_is_closed(clock: list[float]) -> None:
    breaker: CircuitBreaker[str] = CircuitBreaker(30)
    breaker.open("wrong bytes", seconds=math.inf)
    clock[0] += 1e9
    assert breaker.is_open
    breaker.close()
    assert not breaker.is_open
