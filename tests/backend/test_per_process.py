"""One of something in each process: made once, never shared with a forked child, never lost to one."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from layercache.backend import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable


def in_child(check: Callable[[], bool]) -> bool:
    """Whether the check holds in a forked child. A child that hangs is ended by its alarm."""
    child = os.fork()
    if not child:
        import signal

        signal.alarm(10)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_is_made_at_its_first_use_and_once_however_many_ask() -> None:
    begun, made = threading.Barrier(8), []

    def make() -> object:
        made.append(object())
        return made[-1]

    one = PerProcess(make)
    assert one.made() is None

    def ask() -> None:
        begun.wait(60)
        found.append(one.get())

    found: list[object] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8
    assert one.made() is made[0]


def test_what_is_taken_is_made_again() -> None:
    one = PerProcess(object)
    first = one.get()
    assert one.take() is first
    assert one.take() is None
    assert one.get() is not first


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own() -> None:
    one = PerProcess(object)
    parents = one.get()
    assert in_child(lambda: one.made() is None and one.get() is not parents)
    assert one.get() is parents


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_neither_takes_nor_finalizes_what_its_parent_has() -> None:
    class Client:
        def __del__(self) -> None:
            if os.getpid() != parent:
                os._exit(3)

    parent = os.getpid()
    one = PerProcess(Client)
    one.get()

    def check() -> bool:
        return one.take() is None and isinstance(one.get(), Client)

    assert in_child(check)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_while_its_parent_makes_one_does_not_wait_for_ever() -> None:
    making, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def make() -> int:
        if os.getpid() == parent:
            making.set()
            go_on.wait(60)
        return os.getpid()

    one = PerProcess(make)
    thread = threading.Thread(target=one.get)
    thread.start()
    try:
        assert making.wait(60)
        assert in_child(lambda: one.get() == os.getpid())
    finally:
        go_on.set()
        thread.join()
    assert one.get() == parent
