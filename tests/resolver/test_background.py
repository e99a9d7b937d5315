"""The queue of writes to far tiers."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest

from layercache.errors import BackendError
from layercache.resolver.upload_queue import WAITING, Upload, UploadQueue


def test_work_about_one_thing_is_done_in_order() -> None:
    background = UploadQueue()
    done: list[int] = []
    for number in range(200):
        background.add(partial(done.append, number), about=number % 3)
    background.flush()
    for thing in range(3):
        own = [number for number in done if number % 3 == thing]
        assert own == sorted(own)
    assert len(done) == 200


def test_whoever_adds_to_a_full_queue_waits() -> None:
    background, gate, added = UploadQueue(), threading.Event(), threading.Semaphore(0)

    def add() -> None:
        for _ in range(WAITING + 2):  # one is being done, the queue holds the others but one
            background.add(lambda: gate.wait(60), about="the same")
            added.release()

    adding = threading.Thread(target=add)
    adding.start()
    for _ in range(WAITING + 1):
        assert added.acquire(timeout=60)
    assert not added.acquire(timeout=0.05)
    gate.set()
    adding.join(60)
    background.flush()


def test_a_failure_is_told_once_by_the_next_flush_and_stops_nothing() -> None:
    background, done = UploadQueue(), []

    def fail() -> None:
        raise BackendError("no")

    background.add(fail, about=1)
    background.add(lambda: done.append(1), about=1)
    with pytest.raises(BackendError, match="no"):
        background.flush()
    background.flush()
    assert done == [1]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_work_that_ends_its_thread_is_not_waited_for_forever(kind: type[BaseException]) -> None:
    background, done = UploadQueue(), threading.Event()

    def leave() -> None:
        raise kind

    background.add(leave, about=1)
    background.add(done.set, about=1)
    assert done.wait(60), "work about the same thing is still done"
    with pytest.raises(kind):
        background.flush()


def test_what_is_given_up_is_dropped_and_what_has_begun_is_finished() -> None:
    background, gate, begun = UploadQueue(), threading.Event(), threading.Event()
    done: list[str] = []
    dropped: list[int] = []

    def work() -> None:
        begun.set()
        gate.wait(60)
        done.append("first")

    background.add(work, about=1)
    for number in range(5):
        background.add(lambda: done.append("more"), about=1, drop=partial(dropped.append, number))
    assert begun.wait(60)
    background.give_up()
    gate.set()
    background.flush()
    assert done == ["first"]
    assert dropped == [0, 1, 2, 3, 4]


def test_no_thread_outlives_its_work() -> None:
    background, seen = UploadQueue(), []
    for number in range(20):
        background.add(lambda: seen.append(threading.current_thread()), about=number)
    background.flush()
    for thread in set(seen):
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_with_an_empty_queue() -> None:
    background, gate = UploadQueue(), threading.Event()
    background.add(lambda: gate.wait(60), about=1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            background.flush()
            done: list[int] = []
            background.add(lambda: done.append(1), about=1)
            background.flush()
            code = 0 if done == [1] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    gate.set()
    background.flush()
    assert os.waitstatus_to_exitcode(status) == 0


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_thread_nothing_is_left_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    background, upload = UploadQueue(), Upload("far", "key", 10)
    done: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(RuntimeError):
            background.add(lambda: done.append("it"), 1, drop=lambda: done.append("dropped"), upload=upload)
    background.flush(timeout=10)
    assert (done, background.progress()) == (["dropped"], [])
    background.add(lambda: done.append("next"), 1)
    background.flush(timeout=10)
    assert done == ["dropped", "next"]


def test_the_threads_that_there_are_do_what_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    background, gate, done = UploadQueue(), threading.Event(), threading.Event()
    background.add(lambda: gate.wait(60), 1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        background.add(done.set, 2)
    gate.set()
    background.flush(timeout=10)
    assert done.is_set()
