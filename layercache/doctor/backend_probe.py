"""Checks of a tier on a backend: its objects, their times, conditions; for a local tier, the file system."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from layercache.backend.capabilities import (
    Conditional,
    CountedLeftovers,
    Diagnosable,
    Exclusive,
    Finding,
    LocalPath,
)
from layercache.doctor.check import Answer, milliseconds
from layercache.doctor.probe import Probe
from layercache.errors import BackendError, NotFoundError
from layercache.streams.readers import CHUNK
from layercache.tiers import format
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.gate import command_of, ungated
from layercache.tiers.leftovers import DAY, count_leftovers

if TYPE_CHECKING:
    from layercache.doctor.check import Examination

PROBES = "probes"
"""The folder that test data is written to, below a unique name, until the check ends."""

FREE_LOW = 5 << 30
SKEW_MAX = 60.0
"""Seconds by which two clocks may differ before the ages of entries become meaningless."""


class StoreProbe(Probe[BackendTier]):
    """Writes, reads and deletes objects in a new folder."""

    def __init__(self, tier: BackendTier) -> None:
        super().__init__(tier)
        self._backend = ungated(tier.backend)  # probes are written to a store of any format, and go again
        self._folder = f"{PROBES}/{os.urandom(8).hex()}"

    def clear(self) -> None:
        super().clear()
        if isinstance(self._backend, LocalPath):
            folder = os.path.dirname(self._backend.path(self._key("x")))
            with suppress(OSError):  # another check is running there
                shutil.rmtree(folder, ignore_errors=True)
                os.rmdir(os.path.dirname(folder))

    def _look(self, examination: Examination, seconds: float) -> bool:
        usable = (
            examination.run("reached", self._reach, seconds)
            and examination.run("format", self._format, seconds)
            and examination.run("listed", self._list, seconds)
        )
        if usable and isinstance(self._backend, CountedLeftovers):
            examination.run("leftovers", self._leftovers, seconds)
        if isinstance(self._backend, LocalPath):
            local = self._backend.path(self._folder)
            examination.run("free space", lambda: _free_space(local), seconds)
        self._diagnose(examination, seconds)
        return usable

    def _try_more(self, examination: Examination, seconds: float) -> None:
        examination.run("clock", self._clock, seconds)
        if isinstance(self._backend, Exclusive | Conditional):
            examination.run("conditions", self._conditions, seconds)

    def _end(self, examination: Examination, seconds: float) -> None:
        if isinstance(self._backend, LocalPath):
            folder = os.path.dirname(self._backend.path(self._key("x")))
            examination.run("unnamed files", lambda: _unnamed_files(folder), seconds)
            examination.run("locks", lambda: _locks(folder), seconds)

    def _diagnose(self, examination: Examination, seconds: float) -> None:
        """Add a check for each finding of the backend's diagnosis."""
        backend, found = self._backend, list[Finding]()
        if not isinstance(backend, Diagnosable):
            return

        def examine() -> Answer:
            for finding in backend.diagnose():
                found.append(finding)  # findings count even if it fails later
            return Answer(f"{len(found)} checks by the backend")

        examination.run("examined", examine, seconds)
        for each in found:
            examination.record(each.name, Answer(each.detail, each.result, each.hint))

    def _reach(self) -> Answer:
        begun = time.perf_counter()
        self._has("absent")
        return milliseconds(begun)

    def _format(self) -> Answer:
        command = partial(command_of, self._tier.backend)
        if not format.check(self._backend, command):
            return Answer("not marked yet: the first write does that")
        if format.has_earlier(self._backend):
            hint = f"an older version still writes to it, or an upgrade was interrupted: run {command()}"
            return Answer(f"{format.FORMAT}, with associations of the earlier one", "warning", hint)
        return Answer(str(format.FORMAT))

    def _leftovers(self) -> Answer:
        """Count unfinished writes; old ones belong to killed processes."""
        try:
            found = count_leftovers(self._backend)
        except BackendError as error:
            return Answer(f"cannot be listed: {error.message}", "warning", error.hint)
        assert found is not None
        if (found.oldest or 0.0) < DAY:
            return Answer(str(found), value=found.count)
        hint = "layercache prune removes unfinished writes older than a day (--leftovers-older-than AGE)"
        return Answer(str(found), "warning", hint, found.count)

    def _clock(self) -> Answer:
        before = time.time()
        self._put("clock", b"x")
        there, after = self._backend.stat(self._key("clock")).modified, time.time()
        skew = max(before - 1 - there, there - after, 0.0)  # stores round to seconds
        detail = f"differs from this machine's by {skew:.1f} s" if skew else "agrees with this machine's"
        if skew <= SKEW_MAX:
            return Answer(detail, value=skew, unit="s")
        hint = "synchronize the clocks (NTP); eviction goes by the times of entries"
        return Answer(detail, "warning", hint, skew, "s")

    def _conditions(self) -> Answer:
        """Check whether the store heeds conditions of writes. Nothing depends on it: at worst a warning."""
        hint = "harmless: each machine fetches for itself, and undone records are learned again"
        try:
            if self._is_created_once() and self._is_changed_once():
                return Answer("work")
        except BackendError as error:
            return Answer(f"not supported by this store: {error.message}", "warning", hint)
        return Answer("ignored by this store", "warning", hint)

    def _is_created_once(self) -> bool:
        """Whether an object is created only if there is none. `create_new` may get by without conditions."""
        backend, key = self._backend, self._key("once")
        self._written.add("once")
        if isinstance(backend, Conditional):
            first, second = (backend.write_if(key, data, None) for data in (b"first", b"second"))
        else:
            assert isinstance(backend, Exclusive), "otherwise there is no such check"
            first, second = (backend.create_new(key, data) for data in (b"first", b"second"))
        return first and not second and self._get("once") == b"first"

    def _is_changed_once(self) -> bool:
        """Whether an object is changed only if it is still the one that was read; True without that."""
        backend, key = self._backend, self._key("once")
        if not isinstance(backend, Conditional):
            return True
        version = backend.read_versioned(key)[1]
        first, second = (backend.write_if(key, data, version) for data in (b"second", b"third"))
        return first and not second and self._get("once") == b"second"

    def _send(self, name: str, data: bytes) -> None:
        view = memoryview(data)
        with self._backend.create(self._key(name)) as sink:
            for start in range(0, len(view), CHUNK):
                if self._over.is_set():
                    return
                sink.write(view[start : start + CHUNK])
            sink.commit()

    def _get(self, name: str) -> bytes:
        with self._backend.open(self._key(name)) as reader:
            return b"".join(iter(lambda: reader.read(CHUNK), b""))

    def _remove(self, name: str) -> None:
        self._backend.delete(self._key(name))

    def _has(self, name: str) -> bool:
        try:
            self._backend.stat(self._key(name))
        except NotFoundError:
            return False
        return True

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"


def _free_space(path: str) -> Answer:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    free = shutil.disk_usage(path).free
    detail = f"{free / 1e9:.1f} GB"
    if free >= FREE_LOW:
        return Answer(detail, value=free, unit="bytes")
    return Answer(detail, "warning", "free some space, or limit the cache (max_size=20GB)", free, "bytes")


def _unnamed_files(folder: str) -> Answer:
    """Check whether unfinished writes vanish with their process; otherwise killed ones stay in tmp/."""
    hint = "unfinished writes of killed processes stay in tmp/ until layercache prune removes them"
    if not hasattr(os, "O_TMPFILE"):
        return Answer("not supported by this system", "warning", hint)
    try:
        os.close(os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o600))
    except OSError as error:
        return Answer(f"not supported by this file system: {error.strerror}", "warning", hint)
    return Answer("supported")


def _locks(folder: str) -> Answer:
    """Check whether processes can wait for each other. That saves work; correctness does not depend on it."""
    import fcntl

    fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        hint = "processes may fetch the same layer twice; put the cache on a local disk"
        return Answer(f"not supported by this file system: {error.strerror}", "warning", hint)
    finally:
        os.close(fd)
    return Answer("supported")
