"""The promises when a writer is killed, and about its `Leftovers`."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from layercache.backend.capabilities import Expendable, Leftovers
from layercache.errors import BackendError, NotFoundError
from layercache.testing.base import KEY, TEXT, Hooks, check_bytes, get, pattern, put
from layercache.testing.children import ForkedChild

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Backend

OLD = TEXT
MEDIUM = (1 << 20) + 7
OF_ALL = -60.0
"""An age that every unfinished write has, even on a store with another clock."""


class KillPromises(Hooks):
    def test_a_writer_killed_in_its_commit_leaves_all_or_nothing(self, backend: Backend) -> None:
        self.wants_shared_store()
        killer = Killer(backend)
        for number in range(self.kills):
            key, taken = f"{KEY}-{number}", number % 2 == 1
            data = pattern(self.big if number % 10 == 4 else MEDIUM)
            if taken:
                put(backend, key, OLD)
            killer.kill_in_commit(key, data, number)
            try:
                kept = get(backend, key)
            except NotFoundError:
                assert not taken, "a killed commit lost the object that was there: replace it in one step"
                continue
            if not (taken and kept == OLD):
                self.check_killed(backend, key, data, f"after a kill during a commit (number {number})")
        assert {entry.size for entry in backend.scan()} <= {len(OLD), MEDIUM, self.big}

    def check_killed(self, backend: Backend, key: str, data: bytes, what: str) -> None:
        """Fail unless the object of a writer that was killed in its commit, which is there, is whole."""
        advice = "publish in one step: a name appears when all of its bytes are there"
        check_bytes(get(backend, key), data, what, advice)

    def test_leftovers_are_removed(self, backend: Backend) -> None:
        leftovers = self._leftovers(backend)
        self.wants_shared_store()
        if not self.leaves_leftovers:
            pytest.skip("a killed write leaves nothing here")
        killer = Killer(backend)
        for number in range(max(12, self.kills)):  # most need one or two
            kill_in_write(backend, f"{KEY}-{number}", pattern(self.big))
            killer.kill_in_commit(f"{KEY}-{number}", pattern(self.big), number)
            assert leftovers.remove_leftovers(3600) == 0, (
                "leftovers younger than older_than seconds must stay"
            )
            if leftovers.remove_leftovers(OF_ALL):
                break
        else:
            pytest.fail(
                f"{number + 1} writers were killed, and remove_leftovers() removed nothing\n"
                "  look at    how it lists unfinished writes; set leaves_leftovers = False if there are none"
            )
        assert leftovers.remove_leftovers(OF_ALL) == 0, (
            "what remove_leftovers() counts must be gone afterwards"
        )

    def test_an_aborted_write_leaves_nothing(self, backend: Backend) -> None:
        leftovers = self._leftovers(backend)
        with backend.create(KEY) as sink:
            sink.write(pattern(self.big))
        assert leftovers.remove_leftovers(OF_ALL) == 0, "abort() must discard what was sent, if it can"

    def test_removing_leftovers_spares_what_is_published(self, backend: Backend) -> None:
        leftovers = self._leftovers(backend)
        wanted = {f"{KEY}-small": TEXT, f"{KEY}-empty": b"", f"{KEY}-big": pattern(self.big)}
        for key, data in wanted.items():
            put(backend, key, OLD)
            put(backend, key, data)
        for age in (3600, OF_ALL):
            leftovers.remove_leftovers(age)
            for key, data in wanted.items():
                check_bytes(get(backend, key), data, f"remove_leftovers({age:g}) harmed a published object")
            assert {entry.key for entry in backend.scan()} == set(wanted)

    def test_removing_leftovers_spares_a_young_writer(self, backend: Backend) -> None:
        leftovers = self._leftovers(backend)
        data = pattern(self.big)
        with backend.create(KEY) as sink:
            sink.write(data[:-5])
            assert leftovers.remove_leftovers(3600) == 0, "a running writer of some seconds is not a leftover"
            sink.write(data[-5:])
            sink.commit()
        check_bytes(get(backend, KEY), data, "after remove_leftovers(3600) during the write")

    def test_a_writer_whose_bytes_were_removed_as_leftovers_publishes_all_or_nothing(
        self, backend: Backend
    ) -> None:
        leftovers = self._leftovers(backend)
        data = pattern(self.big)
        with backend.create(KEY) as sink:
            sink.write(data[:-5])
            leftovers.remove_leftovers(OF_ALL)
            try:
                sink.write(data[-5:])
                sink.commit()
            except BackendError:
                with pytest.raises(NotFoundError):
                    backend.open(KEY)
                return
        check_bytes(get(backend, KEY), data, "after remove_leftovers() of a running writer's bytes")

    def _leftovers(self, backend: Backend) -> Leftovers:
        if not isinstance(backend, Leftovers):
            pytest.skip("this backend has no Leftovers")
        return backend


def kill_in_write(backend: Backend, key: str, data: bytes) -> None:
    """Kill a process that has written everything, and not started to commit."""

    def write(report: Callable[[], None]) -> None:
        sink = backend.create(key)
        sink.write(data)
        report()
        time.sleep(600)
        sink.abort()

    with ForkedChild(write) as child:
        child.wait_for_report()


class Killer:
    """Kills processes at random moments of a commit, whose duration was measured before."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._seconds: dict[int, float] = {}
        """Measure the duration of a commit of this many bytes."""

    def kill_in_commit(self, key: str, data: bytes, seed: int) -> None:
        if len(data) not in self._seconds:
            self._seconds[len(data)] = self._measure(data)
        with ForkedChild(lambda report: self._write(key, data, report, expendable=seed % 4 == 3)) as child:
            child.wait_for_report()
            # Seeded, so that a moment that breaks a promise recurs in the next run.
            time.sleep(random.Random(seed).uniform(0, 1.1) * self._seconds[len(data)])  # noqa: S311  # no secret

    def _measure(self, data: bytes) -> float:
        key = f"{KEY}-measured"
        with ForkedChild(lambda report: self._write(key, data, report)) as child:
            child.wait_for_report()
            began = time.monotonic()
            child.wait_for_report()
            seconds = time.monotonic() - began
            assert child.result() == "None"
        self._backend.delete(key)
        return seconds

    def _write(self, key: str, data: bytes, report: Callable[[], None], *, expendable: bool = False) -> None:
        backend = self._backend
        if expendable and isinstance(backend, Expendable):
            sink = backend.create_expendable(key)
        else:
            sink = backend.create(key)
        sink.write(data)
        report()
        sink.commit()
        report()
