"""The promises of `Lockable`. Skipped without it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from layercache.backend.capabilities import Lockable
from layercache.testing.base import Hooks, in_threads
from layercache.testing.children import PATIENCE, ForkedChild, in_forked_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Backend

WAIT = 1.2
"""Seconds to wait for a lock: more than one, since a store may count whole seconds."""


class LockingPromises(Hooks):
    def test_a_lock_is_held_by_one(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        with lockable.lock("name") as held:
            assert held
            with lockable.lock("name", timeout=0) as second:
                assert second is None, "a held lock must not be given again, not even in this process"
            with lockable.lock("another", timeout=0) as other:
                assert other, "locks of two names must be independent"
        with lockable.lock("name", timeout=0) as again:
            assert again, "leaving the block must release the lock"
        assert list(backend.scan()) == [], "scan() must not list the objects of locks"

    def test_a_lock_is_let_go_whatever_happens_under_it(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        with pytest.raises(KeyboardInterrupt), lockable.lock("name"):
            raise KeyboardInterrupt
        with lockable.lock("name", timeout=0) as again:
            assert again, "leaving the block by an exception must release the lock, too"

    def test_threads_that_hold_a_lock_in_turn_read_each_others_notes(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        in_threads(lambda _: _count(lockable, 25), range(4))
        with lockable.lock("count") as held:
            assert held
            assert held.note() == b"100", "two held the lock at once, or a note was lost"
            held.leave_note(b"7")
            assert held.note() == b"7"

    def test_processes_that_hold_a_lock_in_turn_read_each_others_notes(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        self.wants_shared_store()
        with ForkedChild(lambda _: _count(lockable, 25)) as child:
            _count(lockable, 25)
            assert child.result() == "None"
        with lockable.lock("count") as held:
            assert held
            assert held.note() == b"50", "two processes held the lock at once, or a note was lost"

    def test_the_lock_of_another_process_is_held_until_it_is_killed(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        self.wants_shared_store()

        def hold(report: Callable[[], None]) -> None:
            with lockable.lock("name") as held:
                assert held
                report()
                time.sleep(PATIENCE)

        with ForkedChild(hold) as child:
            child.wait_for_report()
            with lockable.lock("name", timeout=0) as ours:
                assert ours is None, "the lock is held by another process"
            child.kill()
            assert child.result() == "killed"
            limit = time.monotonic() + self.lease + self.slack
            while not _is_free(lockable, "name"):
                assert time.monotonic() < limit, (
                    f"the lock of a killed process is still held after {self.lease:g} s (lease)\n"
                    "  look at    what ends with the holder: a connection, a lock of a file, a time to live"
                )
                time.sleep(0.02)

    def test_a_lock_that_is_let_go_is_had_by_one_who_waits(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        with ThreadPoolExecutor(1) as pool:
            with lockable.lock("name"):
                waiting = pool.submit(_is_free, lockable, "name", None)
                time.sleep(0.2)
                assert not waiting.done(), "timeout=None must wait while the lock is held"
            assert waiting.result(PATIENCE) is True

    def test_a_holder_that_gives_no_sign_of_life_is_waited_for_until_the_timeout(
        self, backend: Backend
    ) -> None:
        lockable = self._lockable(backend)
        pool = ThreadPoolExecutor(1)
        with lockable.lock("name"):
            began = time.monotonic()
            waiting = pool.submit(_is_free, lockable, "name", WAIT)
            try:
                free = waiting.result(WAIT + self.slack)
            except TimeoutError:
                free = None
            waited = time.monotonic() - began
        pool.shutdown()
        assert free is not None, f"timeout={WAIT:g} must bound the waiting: nothing after {waited:.1f} s"
        assert free is False, "the lock is held all the time: lock() must yield None"
        assert waited > WAIT / 4, (
            f"lock() must wait for timeout={WAIT:g}, since the holder has just taken the lock"
        )

    def test_a_holder_that_leaves_notes_is_waited_for(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        with ThreadPoolExecutor(1) as pool:
            with lockable.lock("name") as held:
                assert held
                waiting = pool.submit(_is_free, lockable, "name", WAIT)
                for _ in range(10):
                    time.sleep(2 * WAIT / 10)
                    held.leave_note(b"still here")
            assert waiting.result(PATIENCE), "a note shows activity: timeout must restart with each"

    @pytest.mark.parametrize("lasting", [True, False])
    def test_a_note_outlives_its_holder_only_if_the_lock_is_lasting(
        self, backend: Backend, lasting: bool
    ) -> None:
        lockable = self._lockable(backend)
        with lockable.lock("name", lasting=lasting) as held:
            assert held
            assert held.note() == b"", "a lock that was never held must have an empty note"
            held.leave_note(b"from before")
        with closing(self.reopen(backend)) as other:
            assert isinstance(other, Lockable)
            with other.lock("name") as held:
                assert held
                wanted = b"from before" if lasting else b""
                assert held.note() == wanted, f"a note of a lock with lasting={lasting}"

    def test_a_forked_child_takes_a_lock(self, backend: Backend) -> None:
        lockable = self._lockable(backend)
        with lockable.lock("before"):
            assert in_forked_child(lambda: _is_free(lockable, "name")) == "True"
        assert _is_free(lockable, "before"), "a lock held across a fork must be released by its holder"

    def _lockable(self, backend: Backend) -> Lockable:
        if not isinstance(backend, Lockable):
            pytest.skip("this backend is not Lockable")
        return backend


def _count(lockable: Lockable, times: int) -> None:
    """Add to the number in the note of a lock."""
    for _ in range(times):
        with lockable.lock("count") as held:
            assert held
            held.leave_note(b"%d" % (int(held.note() or b"0") + 1))


def _is_free(lockable: Lockable, name: str, timeout: float | None = 0) -> bool:
    """Whether the lock was free; releases it immediately."""
    with lockable.lock(name, timeout=timeout) as held:
        return held is not None
