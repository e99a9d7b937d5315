"""More that a lying registry does: to ranges, and to bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servers.lying import part_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.lying import Answer, Fault, Request


def part(start: int, end: int) -> Fault:
    """These bytes of the blob, whichever were asked for."""

    def fault(_: Request, answer: Answer) -> None:
        given = part_of(answer.whole, start, end)
        answer.status, answer.body, answer.headers = given.status, given.body, given.headers

    return fault


def encoded(coding: str, encode: Callable[[bytes], bytes]) -> Fault:
    """The honest body, encoded, which nobody asked for."""

    def fault(request: Request, answer: Answer) -> None:
        answer.headers["Content-Encoding"] = coding
        answer.body = encode(answer.body)

    return fault


def to_ranges(fault: Fault) -> Fault:
    """The fault, where a range is asked for; else the honest answer."""

    def chosen(request: Request, answer: Answer) -> None:
        if "range" in request.headers:
            fault(request, answer)

    return chosen


def paced(rate: int) -> Fault:
    """The honest answer, at so many bytes a second."""

    def fault(_: Request, answer: Answer) -> None:
        answer.pace = rate

    return fault
