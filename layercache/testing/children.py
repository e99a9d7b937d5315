"""Forked children of a test: their results, their errors, and killing them."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which a silent child or thread counts as hanging."""

_RAISED = b"\0"
"""Separates the name of an exception and its traceback."""


class ForkedChild:
    """Runs ``work`` in a forked process, with an argument ``report`` that sends one byte to the parent.

    A context manager: a child that is still running at the end is killed.
    """

    def __init__(self, work: Callable[[Callable[[], None]], object]) -> None:
        self._answer, answering = os.pipe()
        self._reports, reporting = os.pipe()
        self._waited = False
        with warnings.catch_warnings():
            # Python 3.12 warns of forks while threads run. These must work: callers have threads, and fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            os.close(self._answer)
            try:
                with os.fdopen(answering, "wb") as pipe:
                    pipe.write(_answer_of(lambda: work(lambda: _send(reporting))))
            finally:
                os._exit(0)  # not a step further: the rest of the test run is the parent's
        os.close(answering)
        os.close(reporting)

    def wait_for_report(self) -> None:
        """Wait until the child has called ``report``. Fails the test if it ends or hangs before."""
        if not _has_more(self._reports) or not os.read(self._reports, 1):
            pytest.fail(f"a forked child did not get as far as it should: {self.result()}")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def result(self) -> str:
        """Return the result as a string, the name of an exception, or "killed".

        The traceback of an exception goes to standard error, which pytest shows with a failure.
        """
        pieces = []
        while True:
            if not _has_more(self._answer):
                self.kill()
                pytest.fail(f"a forked child hangs: no result after {PATIENCE:.0f} s")
            if not (piece := os.read(self._answer, 65536)):
                break
            pieces.append(piece)
        if os.WIFSIGNALED(self._wait()):
            return "killed"
        answer, raised, trace = b"".join(pieces).partition(_RAISED)
        if raised:
            sys.stderr.write(f"in a forked child:\n{trace.decode(errors='replace')}")
        return answer.decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._waited:
            self.kill()
            self._wait()
        os.close(self._answer)
        os.close(self._reports)

    def _wait(self) -> int:
        self._waited = True
        return os.waitpid(self.pid, 0)[1]


def in_forked_child(work: Callable[[], object]) -> str:
    """Run work in a forked child; return its result as a string, the name of an exception, or "killed"."""
    with ForkedChild(lambda _: work()) as child:
        return child.result()


def _answer_of(work: Callable[[], object]) -> bytes:
    try:
        return str(work()).encode()
    except BaseException as error:
        name = f"AssertionError: {error}" if isinstance(error, AssertionError) else type(error).__name__
        return name.encode() + _RAISED + traceback.format_exc().encode()


def _has_more(pipe: int) -> bool:
    """Wait until a pipe has bytes, or ends; False after `PATIENCE`."""
    poll = select.poll()  # unlike select(2), for any number of open files
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(PATIENCE * 1000))


def _send(pipe: int) -> None:
    os.write(pipe, b".")
