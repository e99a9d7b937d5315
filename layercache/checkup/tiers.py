"""A tier looked at: reached, listed, written, read, deleted; how fast; of a local one, its file system."""

from __future__ import annotations

import os
import shutil
import statistics
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache import keys
from layercache.backend import Exclusive, LocalPath
from layercache.checkup.check import SECONDS, Answer, Subject
from layercache.errors import BackendError, NotFoundError
from layercache.streams import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend_tier import BackendTier

PROBES = "probes"
"""The folder that holds all that a check-up writes, below a name of its own, and for so long."""

BIG = 16 << 20
"""Bytes by which the rates up and down are measured."""

SMALL = 4 << 10
ROUNDS = 5
SPEED_SECONDS = 60.0
FREE_LOW = 5 << 30
SKEW_MAX = 60.0
"""Seconds that two clocks may differ until ages of entries mean nothing."""


def check_tier(url: str, open: Callable[[], BackendTier], *, seconds: float = SECONDS) -> Subject:
    """All that can be said of a tier, in some seconds; what was written is removed, also when interrupted."""
    subject = Subject(url, "tier")
    opened: list[BackendTier] = []

    def begin() -> Answer:
        tier = open()
        opened.append(tier)
        policy = tier.policy
        believed = "trusted" if policy.trusted else "not trusted"
        access = "read-only" if policy.readonly else "read and write"
        return Answer(f"keeps {policy.keep}, {access}, {believed}")

    if not subject.run("configured", begin, seconds):
        return subject
    tier = opened[0]
    subject.name = tier.name
    probe = _Probe(tier)
    try:
        probe.run(subject, seconds)
    finally:
        # What has not answered before may not answer now: that is not waited for either.
        clearing = threading.Thread(target=probe.clear, name="check", daemon=True)
        clearing.start()
        clearing.join(seconds)
    return subject


class _Probe:
    """Objects of our own in a tier's store."""

    def __init__(self, tier: BackendTier) -> None:
        self._tier = tier
        self._backend = tier.backend
        self._folder = f"{PROBES}/{os.urandom(8).hex()}"
        self._written: set[str] = set()
        self._over = threading.Event()

    def run(self, subject: Subject, seconds: float) -> None:
        usable = subject.run("reached", self._reach, seconds) and subject.run("listed", self._list, seconds)
        if isinstance(self._backend, LocalPath):
            local = self._backend.path(self._folder)
            subject.run("free space", lambda: _free_space(local), seconds)
        if not usable:
            return
        if self._tier.policy.readonly:
            for name in ("written", "read", "deleted", "speed"):
                subject.run(name, lambda: Answer("the tier is read-only: nothing is written", "skipped"))
            return
        if subject.run("written", self._write, seconds):
            subject.run("read", self._read, seconds)
            subject.run("clock", self._clock, seconds)
            subject.run("deleted", self._delete, seconds)
            if isinstance(self._backend, Exclusive):
                subject.run("created once", self._create_once, seconds)
            subject.run("latency", self._latency, seconds)
            subject.run("up", self._up, SPEED_SECONDS)
            subject.run("down", self._down, SPEED_SECONDS)
            if isinstance(self._backend, LocalPath):
                folder = os.path.dirname(self._backend.path(f"{self._folder}/x"))
                subject.run("unnamed files", lambda: _unnamed_files(folder), seconds)
                subject.run("locks", lambda: _locks(folder), seconds)

    def clear(self) -> None:
        """Remove all that was written; what a check that took too long writes later, that check removes."""
        self._over.set()
        with suppress(BackendError):  # what cannot be deleted was told by a check
            for key in sorted(self._written):
                self._backend.delete(key)
            self._backend.close()
        if isinstance(self._backend, LocalPath):
            folder = os.path.dirname(self._backend.path(f"{self._folder}/x"))
            with suppress(OSError):  # another check-up is under way there
                shutil.rmtree(folder, ignore_errors=True)
                os.rmdir(os.path.dirname(folder))

    # The checks

    def _reach(self) -> Answer:
        begun = time.perf_counter()
        with suppress(NotFoundError):
            self._backend.stat(f"{self._folder}/absent")
        return _milliseconds(time.perf_counter() - begun)

    def _list(self) -> Answer:
        begun = time.perf_counter()
        first = next(iter(self._backend.scan(keys.BLOBS)), None)
        spent = _milliseconds(time.perf_counter() - begun)
        return Answer(
            f"{spent.detail}, {'it holds blobs' if first else 'empty'}", value=spent.value, unit="ms"
        )

    def _write(self) -> Answer:
        begun = time.perf_counter()
        self._put("small", os.urandom(SMALL))
        return _milliseconds(time.perf_counter() - begun)

    def _read(self) -> Answer:
        data = os.urandom(SMALL)
        self._put("read", data)
        begun = time.perf_counter()
        if self._get("read") != data:
            return Answer(
                "other bytes were read than had been written", "failed", hint="do not use this store"
            )
        return _milliseconds(time.perf_counter() - begun)

    def _clock(self) -> Answer:
        before = time.time()
        self._put("clock", b"x")
        there, after = self._backend.stat(f"{self._folder}/clock").modified, time.time()
        skew = max(before - 1 - there, there - after, 0.0)  # stores round to seconds
        detail = f"{skew:.1f} s apart" if skew else "the same as ours"
        if skew <= SKEW_MAX:
            return Answer(detail, value=skew, unit="s")
        hint = "set the clocks (NTP): by its entries' times, which ones are old is misjudged"
        return Answer(detail, "warning", hint, skew, "s")

    def _delete(self) -> Answer:
        begun = time.perf_counter()
        self._backend.delete(f"{self._folder}/small")
        spent = _milliseconds(time.perf_counter() - begun)
        try:
            self._backend.stat(f"{self._folder}/small")
        except NotFoundError:
            return spent
        return Answer("it is still there", "failed", hint="the store keeps or caches what was deleted")

    def _create_once(self) -> Answer:
        """Whether the store heeds a condition. Nothing hangs on it, so that it does not is no failure."""
        assert isinstance(self._backend, Exclusive)
        key = f"{self._folder}/once"
        self._written.add(key)
        hint = "no harm: nothing here hangs on it"
        try:
            first, second = (self._backend.create_new(key, data) for data in (b"first", b"second"))
        except BackendError as error:
            return Answer(f"not in this store: {error.message}", "warning", hint)
        if first and not second and self._get("once") == b"first":
            return Answer("works")
        return Answer("the condition is ignored by this store", "warning", hint)

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
        data = os.urandom(BIG)
        begun = time.perf_counter()
        self._put("big", data)
        return _rate(BIG, time.perf_counter() - begun)

    def _down(self) -> Answer:
        begun = time.perf_counter()
        got = len(self._get("big"))
        return _rate(got, time.perf_counter() - begun)

    def _put(self, name: str, data: bytes) -> None:
        key, view = f"{self._folder}/{name}", memoryview(data)
        self._written.add(key)
        with self._backend.create(key) as sink:
            for start in range(0, len(view), CHUNK):
                if self._over.is_set():
                    return
                sink.write(view[start : start + CHUNK])
            sink.commit()
        if self._over.is_set():
            self._backend.delete(key)

    def _get(self, name: str) -> bytes:
        with self._backend.open(f"{self._folder}/{name}") as reader:
            return b"".join(iter(lambda: reader.read(CHUNK), b""))


def _milliseconds(seconds: float) -> Answer:
    return Answer(f"{1000 * seconds:.1f} ms", value=round(1000 * seconds, 3), unit="ms")


def _rate(size: int, seconds: float) -> Answer:
    rate = size / max(seconds, 1e-9) / 1e6
    return Answer(f"{rate:.{0 if rate >= 10 else 1}f} MB/s", value=round(rate, 3), unit="MB/s")


def _free_space(path: str) -> Answer:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    free = shutil.disk_usage(path).free
    detail = f"{free / 1e9:.1f} GB"
    if free >= FREE_LOW:
        return Answer(detail, value=free, unit="bytes")
    return Answer(detail, "warning", "make room, or bound the cache (max_size=20GB)", free, "bytes")


def _unnamed_files(folder: str) -> Answer:
    """Whether unfinished writes vanish with their process; else what is killed leaves them in tmp/."""
    hint = "what a killed process was writing stays in tmp/ until it is cleared away"
    if not hasattr(os, "O_TMPFILE"):
        return Answer("this system has none", "warning", hint)
    try:
        os.close(os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o600))
    except OSError as error:
        return Answer(f"not in this file system: {error.strerror}", "warning", hint)
    return Answer("work")


def _locks(folder: str) -> Answer:
    """Whether processes can wait for each other's work: it saves work, and nothing else hangs on it."""
    import fcntl

    fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        hint = "processes may fetch the same layer twice; put the cache on a local disk"
        return Answer(f"not in this file system: {error.strerror}", "warning", hint)
    finally:
        os.close(fd)
    return Answer("work")
