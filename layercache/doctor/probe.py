"""The checks of every kind of tier: reach, list, write, read, delete, and speed."""

from __future__ import annotations

import os
import statistics
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from layercache.doctor.check import Answer, milliseconds
from layercache.errors import LayercacheError
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from layercache.doctor.check import Examination

SMALL = 4 << 10
ROUNDS = 5
SPEED_SECONDS = 60.0

TierT = TypeVar("TierT", bound=Tier)


class Probe(ABC, Generic[TierT]):
    """Writes test data to a tier, under unique names; `clear` removes all of it.

    ``big``: bytes that are moved to measure the speed.
    """

    big = 16 << 20

    def __init__(self, tier: TierT) -> None:
        self._tier = tier
        self._written: set[str] = set()
        self._over = threading.Event()

    def run(self, examination: Examination, seconds: float) -> None:
        if not self._look(examination, seconds):
            return
        if self._tier.policy.readonly:
            for name in ("written", "read", "deleted", "speed"):
                examination.run(name, lambda: Answer("the tier is read-only", "skipped"))
            return
        if examination.run("written", self._write, seconds):
            examination.run("read", self._read, seconds)
            examination.run("deleted", self._delete, seconds)
            self._try_more(examination, seconds)
            examination.run("latency", self._latency, seconds)
            examination.run("up", self._up, SPEED_SECONDS)
            examination.run("down", self._down, SPEED_SECONDS)
            self._end(examination, seconds)

    def clear(self) -> None:
        """Remove all test data. A check that timed out removes what it writes later itself."""
        self._over.set()
        with suppress(LayercacheError):  # a check has already reported that deleting fails
            for name in sorted(self._written):
                self._remove(name)
        self._tier.close()

    # What each kind of tier implements

    @abstractmethod
    def _look(self, examination: Examination, seconds: float) -> bool:
        """Run the checks that write nothing, and return whether writing is worth a try."""

    def _try_more(self, examination: Examination, seconds: float) -> None:
        """Run further checks of this kind of tier."""

    def _end(self, examination: Examination, seconds: float) -> None:
        """Run the last checks."""

    @abstractmethod
    def _send(self, name: str, data: bytes) -> None:
        """Write an object. May be abandoned half-way once all checks are over."""

    @abstractmethod
    def _get(self, name: str) -> bytes: ...

    @abstractmethod
    def _remove(self, name: str) -> None: ...

    @abstractmethod
    def _has(self, name: str) -> bool: ...

    # The checks

    def _list(self) -> Answer:
        begun = time.perf_counter()
        first = next(self._tier.blobs.scan(), None)
        return milliseconds(begun, "holds blobs" if first else "empty")

    def _write(self) -> Answer:
        begun = time.perf_counter()
        self._put("small", os.urandom(SMALL))
        return milliseconds(begun)

    def _read(self) -> Answer:
        data = os.urandom(SMALL)
        self._put("read", data)
        begun = time.perf_counter()
        if self._get("read") != data:
            return Answer("the bytes read differ from those written", "failed", hint="do not use this store")
        return milliseconds(begun)

    def _delete(self) -> Answer:
        begun = time.perf_counter()
        self._remove("small")
        spent = milliseconds(begun)
        if self._has("small"):
            return Answer(
                "the object still exists", "failed", hint="the store retains or caches deleted objects"
            )
        return spent

    def _latency(self) -> Answer:
        puts, gets = [], []
        for number in range(ROUNDS):
            begun = time.perf_counter()
            self._put(f"latency-{number}", os.urandom(SMALL))
            written = time.perf_counter()
            self._get(f"latency-{number}")
            puts.append(written - begun)
            gets.append(time.perf_counter() - written)
        put, get = (1000 * statistics.median(each) for each in (puts, gets))
        return Answer(f"put {put:.1f} ms, get {get:.1f} ms", value=round(get, 3), unit="ms")

    def _up(self) -> Answer:
        data = os.urandom(self.big)
        begun = time.perf_counter()
        self._put("big", data)
        return _rate(self.big, time.perf_counter() - begun)

    def _down(self) -> Answer:
        begun = time.perf_counter()
        got = len(self._get("big"))
        return _rate(got, time.perf_counter() - begun)

    def _put(self, name: str, data: bytes) -> None:
        self._written.add(name)
        self._send(name, data)
        if self._over.is_set():
            self._remove(name)


def _rate(size: int, seconds: float) -> Answer:
    rate = size / max(seconds, 1e-9) / 1e6
    return Answer(f"{rate:.{0 if rate >= 10 else 1}f} MB/s", value=round(rate, 3), unit="MB/s")
