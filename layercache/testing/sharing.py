"""The promises about sharing: threads, instances, processes, forked children."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from layercache.errors import BackendError
from layercache.testing.base import (
    KEY,
    TEXT,
    Hooks,
    assert_absent,
    get,
    in_threads,
    pattern,
    put,
)
from layercache.testing.children import PATIENCE, in_forked_child

if TYPE_CHECKING:
    from layercache.backend import Backend


class SharingPromises(Hooks):
    def test_writers_of_one_name_leave_one_value_whole(self, backend: Backend) -> None:
        values = [bytes([letter]) * 300_000 for letter in b"abcd"]
        put(backend, KEY, values[0])
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                with suppress(BackendError):  # replaced while it was read: it may fail, never mix
                    assert get(backend, KEY) in values

        with ThreadPoolExecutor(1) as watcher:
            watching = watcher.submit(watch)
            try:
                in_threads(lambda value: put(backend, KEY, value), values * 5)
            finally:
                done.set()
            watching.result()
        assert get(backend, KEY) in values

    def test_writers_of_one_big_name_do_not_harm_each_other(self, backend: Backend) -> None:
        """Some stores drop the parts that one writer has sent when another commits the same name."""
        first, second = (bytes([letter]) * self.big for letter in b"ab")
        advice = "look at    commit(): if the store has dropped the parts, send them again"
        try:
            with backend.create(KEY) as one, backend.create(KEY) as other:
                one.write(first)
                other.write(second)
                one.commit()
                assert get(backend, KEY) == first
                other.commit()
            assert get(backend, KEY) == second, "the last to commit wins"
            both = threading.Barrier(2)

            def write(value: bytes) -> None:
                with backend.create(KEY) as sink:
                    sink.write(value)
                    both.wait(PATIENCE)
                    sink.commit()

            in_threads(write, [first, second])
        except BackendError as error:
            pytest.fail(f"of two writers of {self.big} bytes under one name one failed: {error}\n  {advice}")
        assert get(backend, KEY) in (first, second), "the object is neither of the two committed ones"

    def test_one_backend_serves_many_threads(self, backend: Backend) -> None:
        def work(number: int) -> None:
            key, data = f"contract/threads/{number}", bytes([number]) * 10_000
            for _ in range(5):
                put(backend, key, data)
                assert get(backend, key) == data
                assert get(backend, key, 5000) == data[5000:]
                assert backend.stat(key).size == len(data)
                assert key in [entry.key for entry in backend.scan("contract/threads/")]
                backend.delete(key)
                assert_absent(backend, key)

        in_threads(work, range(8))

    # Instances and processes

    def test_another_instance_sees_what_is_committed_and_nothing_else(self, backend: Backend) -> None:
        with closing(self.reopen(backend)) as other:
            with backend.create(KEY) as sink:
                sink.write(TEXT)
                assert_absent(other, KEY)
                sink.commit()
            assert get(other, KEY) == TEXT
            assert [entry.key for entry in other.scan()] == [KEY]
            put(other, KEY, b"theirs")
            assert get(backend, KEY) == b"theirs"
            other.delete(KEY)
            assert_absent(backend, KEY)

    @pytest.mark.parametrize("old", [b"", TEXT], ids=["new", "taken"])
    @pytest.mark.parametrize("size", [1, None], ids=["small", "big"])
    def test_a_killed_writer_changes_nothing(self, backend: Backend, old: bytes, size: int | None) -> None:
        self.wants_shared_store()
        if old:
            put(backend, KEY, old)

        def write_and_die() -> None:
            sink = backend.create(KEY)
            sink.write(bytes(size or self.big))
            os.kill(os.getpid(), signal.SIGKILL)

        assert in_forked_child(write_and_die) == "killed"
        with closing(self.reopen(backend)) as other:
            for instance in (backend, other):
                if old:
                    assert get(instance, KEY) == old
                    assert [entry.key for entry in instance.scan()] == [KEY]
                else:
                    assert_absent(instance, KEY)
        put(backend, KEY, b"new")
        assert get(backend, KEY) == b"new"

    def test_a_forked_child_reads_and_writes(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        if not self.survives_fork:
            assert in_forked_child(lambda: backend.open(KEY)) == "BackendError", "raise an error, do not hang"
            return
        child_key = f"{KEY}-child"

        def work() -> str:
            assert get(backend, KEY) == TEXT
            put(backend, child_key, b"of the child")
            assert get(backend, child_key) == b"of the child"
            assert_absent(backend, f"{KEY}-absent")
            backend.close()
            return "fine"

        assert in_forked_child(work) == "fine"
        assert get(backend, KEY) == TEXT
        if self.shared_between_processes:
            assert get(backend, child_key) == b"of the child"
        else:
            assert_absent(backend, child_key)

    @pytest.mark.parametrize("size", [5, None], ids=["small", "big"])
    def test_a_forked_child_cannot_commit_its_parents_sink(self, backend: Backend, size: int | None) -> None:
        data = pattern(size or self.big)
        with backend.create(KEY) as sink:
            sink.write(data)

            def commit() -> None:
                with suppress(BackendError):
                    sink.write(b"of the child")
                sink.commit()

            assert in_forked_child(commit) == "BackendError"
            assert_absent(backend, KEY)
            sink.commit()
        assert get(backend, KEY) == data

    @pytest.mark.parametrize("size", [5, None], ids=["small", "big"])
    def test_a_forked_child_cannot_abort_its_parents_sink(self, backend: Backend, size: int | None) -> None:
        data = pattern(size or self.big)
        with backend.create(KEY) as sink:
            sink.write(data[:-3])

            def leave() -> str:
                with sink:
                    sink.abort()
                return "fine"

            assert in_forked_child(leave) == "fine"
            sink.write(data[-3:])
            sink.commit()
        assert get(backend, KEY) == data

    def test_a_backend_closes_twice(self, backend: Backend) -> None:
        put(backend, KEY, TEXT)
        backend.close()
        backend.close()

    def test_a_backend_names_itself(self, backend: Backend) -> None:
        assert "://" in backend.url
