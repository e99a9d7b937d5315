"""What a worker remembers is bounded, in time and in memory."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from layercache.registry.retry import TransientError
from layercache.serve import questions
from layercache.serve.questions import Questions
from layercache.serve.remembered import Remembered


def test_a_value_holds_for_its_seconds() -> None:
    memory: Remembered[str] = Remembered(9)
    memory.put("long", "a", 60)
    memory.put("short", "b", 1e-9)
    memory.put("none", "c", 0)
    assert [memory.get(key) for key in ("long", "short", "none", "other")] == ["a", None, None, None]
    assert 59 < memory.left("long") <= 60
    assert memory.left("short") == memory.left("none") == 0
    memory.put("long", "d", 0)  # it held, and does not any more
    assert memory.get("long") is None


def test_the_oldest_go_when_all_are_too_heavy() -> None:
    memory: Remembered[int] = Remembered(10)
    for number in range(4):
        memory.put(number, number, 60, weight=3)
    assert [memory.get(number) for number in range(4)] == [None, 1, 2, 3]
    memory.put("huge", 9, 60, weight=11)
    assert (memory.get("huge"), memory.get(3)) == (None, 3)


def test_a_value_that_is_put_again_counts_once() -> None:
    memory: Remembered[int] = Remembered(10)
    memory.put("first", 0, 60, weight=4)
    for number in range(9):
        memory.put("again", number, 60, weight=6)
    memory.forget("again")
    memory.forget("again")
    memory.put("more", 1, 60, weight=6)
    assert [memory.get(key) for key in ("first", "again", "more")] == [0, None, 1]


def test_questions_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "QUESTIONS_MAX", 2)
    asking, answered = Questions(2), threading.Event()
    with ThreadPoolExecutor(2) as clients:
        begun = threading.Barrier(3)

        def wait() -> bool:
            begun.wait(60)
            return answered.wait(60)

        waiting = [clients.submit(asking.ask, key, "up", wait, looked=time.monotonic()) for key in ("a", "b")]
        begun.wait(60)
        with pytest.raises(TransientError, match="too many"):
            asking.ask("c", "up", lambda: True, looked=time.monotonic())
        answered.set()
        assert [each.result() for each in waiting] == [True, True]
    assert asking.ask("c", "up", lambda: 7, looked=time.monotonic()) == 7
    asking.close()


def test_a_failure_reaches_all_who_asked_and_is_not_kept() -> None:
    asking, tries = Questions(2), []

    def fail() -> None:
        tries.append(1)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            asking.ask("a", "up", fail, looked=time.monotonic())
    assert len(tries) == 2
    asking.close()


def test_who_looked_before_an_answer_came_takes_it_though_the_question_is_closed() -> None:
    asked: list[int] = []
    asking = Questions(2)
    looked = time.monotonic()
    for _ in range(2):
        asking.ask("a", "up", partial(asked.append, 1), looked=looked)
    asking._threads.shutdown(wait=True)  # the question is closed
    asking._threads = ThreadPoolExecutor(2)
    asking.ask("a", "up", partial(asked.append, 1), looked=looked)
    assert len(asked) == 1
    asking.ask("a", "up", partial(asked.append, 1), looked=time.monotonic())
    assert len(asked) == 2
    asking.close()
