"""What a machine that waits makes of a lease, in a time of the test's own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from layercache.tiers import lease_watch
from layercache.tiers.lease import Lease, SeenLease
from layercache.tiers.lease_watch import Watch

SIZE = 100 << 20
HOUR = 3600.0


@dataclass
class Waiter:
    """A machine that polls until its verdict is another one than to wait, and counts the polls."""

    size: int = SIZE
    now: float = 1000.0
    seed: int = 1
    polls: int = 0
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = Watch(self.size, self.now, random.Random(self.seed).uniform)
        self.begun = self.now

    def poll(self, seen: SeenLease) -> str:
        self.polls += 1
        return self.watch.judge(seen, self.now)

    def sleep(self) -> None:
        pause = self.watch.pause(self.now)
        assert pause > 0
        self.now += pause

    @property
    def waited(self) -> float:
        return self.now - self.begun


def seen(holder: int, moved: int, renewals: int = 0) -> SeenLease:
    lease = Lease(host="a", process=1, token=f"{holder:016x}", size=SIZE, received=moved, renewals=renewals)
    return SeenLease(f"{lease}", lease)


def wait_for(waiter: Waiter, *, renewed: float | None, rate: float, holder: int = 1) -> str:
    """Wait for a holder that renews its lease every so many seconds, and moves so many bytes a second."""
    while True:
        renewals = 0 if renewed is None else int(waiter.waited / renewed)
        moved = int(renewals * (renewed or 0) * rate)
        if (verdict := waiter.poll(seen(holder, moved, renewals))) != "wait":
            return verdict
        waiter.sleep()


@pytest.mark.parametrize("seed", range(20))
def test_a_holder_that_is_silent_is_taken_over_after_15_seconds(seed: int) -> None:
    waiter = Waiter(seed=seed)
    assert wait_for(waiter, renewed=None, rate=0) == "take"
    assert 15 <= waiter.waited <= 15 + lease_watch.SPREAD


def test_a_holder_that_lives_but_does_not_move_a_byte_is_taken_over_after_30_seconds() -> None:
    waiter = Waiter()
    assert wait_for(waiter, renewed=5, rate=0) == "take"
    assert 30 <= waiter.waited <= 30 + lease_watch.SPREAD


@pytest.mark.parametrize("size", [5 << 20, 1 << 30, 1 << 60])
def test_a_holder_that_creeps_is_waited_for_as_long_as_a_slow_fetch_takes(size: int) -> None:
    waiter = Waiter(size=size)
    assert wait_for(waiter, renewed=5, rate=1) == "alone"
    assert waiter.waited == pytest.approx(min(60 + size / (2 << 20), 3600), abs=0.01)


def test_an_honest_holder_is_waited_for_and_polled_at_growing_intervals() -> None:
    waiter = Waiter(size=1 << 30)
    while waiter.waited < 60:
        assert waiter.poll(seen(1, int(waiter.waited * 10e6), int(waiter.waited / 5))) == "wait"
        waiter.sleep()
    assert waiter.polls <= 6 + 60 / (0.9 * lease_watch.LONGEST_PAUSE), (
        "one poll in about 2.5 s, after the first"
    )


def test_of_a_fleet_that_sees_the_same_silence_few_try_to_take_over_at_the_same_moment() -> None:
    waiters = [Waiter(seed=seed) for seed in range(1000)]
    for waiter in waiters:
        assert wait_for(waiter, renewed=None, rate=0) == "take"
    moments = sorted(waiter.now for waiter in waiters)
    assert max(sum(begin <= other < begin + 0.05 for other in moments) for begin in moments) < 100


def test_who_loses_a_takeover_waits_for_the_new_holder_and_for_three_in_all() -> None:
    waiter = Waiter()
    for holder in (1, 2, 3):
        assert wait_for(waiter, renewed=None, rate=0, holder=holder) == "take"
    assert waiter.waited < 50
    assert waiter.poll(seen(4, 0)) == "alone", "then perhaps nobody can store the blob"


def test_what_is_not_a_lease_is_nobodys_sign_of_life() -> None:
    assert Waiter().poll(SeenLease("1", None)) == "take"
    assert Waiter().poll(SeenLease(None, None)) == "take"


def test_leases_that_change_faster_than_they_can_be_taken_do_not_keep_anybody() -> None:
    waiter = Waiter(size=5 << 20)
    while waiter.poll(SeenLease(f"{waiter.polls}", None)) == "take":  # refused: it was written again
        waiter.sleep()
    assert waiter.waited < 65
    assert waiter.polls < 60


def test_a_pause_ends_when_a_silent_holder_is_to_be_taken_over_and_no_later() -> None:
    waiter = Waiter()
    waiter.poll(seen(1, 0))
    waiter.now += 14.9
    waiter.sleep()
    assert waiter.waited <= 15 + lease_watch.SPREAD
