"""What an author of a backend is shown where it fails."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from layercache.errors import BackendError, NotFoundError
from layercache.testing import in_forked_child
from layercache.testing.base import check_bytes, expect
from layercache.testing.children import ForkedChild

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_child_returns_what_its_work_does_or_the_name_of_the_error() -> None:
    def fail() -> None:
        raise BackendError("no")

    assert in_forked_child(lambda: 5) == "5"
    assert in_forked_child(fail) == "BackendError"
    assert in_forked_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "killed"
    assert len(in_forked_child(lambda: "x" * 300_000)) == 300_000


def test_the_traceback_of_a_forked_child_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    def an_authors_method() -> None:
        raise ZeroDivisionError("in the child")

    assert in_forked_child(an_authors_method) == "ZeroDivisionError"
    shown = capfd.readouterr().err
    assert "in a forked child:" in shown
    assert "in an_authors_method" in shown
    assert "ZeroDivisionError: in the child" in shown


def test_a_child_that_fails_before_it_reports_is_a_failure_that_says_why() -> None:
    def work(report: Callable[[], None]) -> None:
        raise KeyError("early")

    with ForkedChild(work) as child, pytest.raises(pytest.fail.Exception, match="KeyError"):
        child.wait_for_report()


def test_a_child_that_is_left_behind_is_killed() -> None:
    def work(report: Callable[[], None]) -> None:
        report()
        signal.pause()

    with ForkedChild(work) as child:
        child.wait_for_report()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_where_an_error_was_due_another_or_none_is_shown_with_advice() -> None:
    with expect(NotFoundError, "open()"):
        raise NotFoundError("absent")
    found = r"expected NotFoundError, found BackendError: down\n  look at    open\(\)"
    with pytest.raises(pytest.fail.Exception, match=found), expect(NotFoundError, "open()"):
        raise BackendError("down")
    none = r"expected NotFoundError, found no error\n  look at    open\(\)"
    with pytest.raises(pytest.fail.Exception, match=none), expect(NotFoundError, "open()"):
        pass


@pytest.mark.parametrize(
    ("found", "where"),
    [(b"abcd", "found 4 bytes, expected 6; they differ from byte 4 on"), (b"abXdef", "from byte 2 on")],
)
def test_bytes_that_differ_are_shown_by_the_place_not_whole(found: bytes, where: str) -> None:
    check_bytes(b"abcdef", b"abcdef", "reading")
    with pytest.raises(pytest.fail.Exception, match=f"reading: .*{where}\n  look at    size"):
        check_bytes(found, b"abcdef", "reading", "size")
