"""The parts of a body that a request asks for in its header Range (RFC 9110, 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})")


class Span(NamedTuple):
    """Bytes ``start`` to ``end`` (exclusive) of a body."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def spans(header: str, size: int) -> list[Span] | None:
    """What is asked for of a body of ``size`` bytes, in the order of the header.

    Empty where no part of the body is in any range. None for what is not a list of ranges of bytes, which is
    to be ignored: all of the body is meant.
    """
    unit, _, text = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    found = [_span(spec, size) for each in text.split(",") if (spec := each.strip())]
    if not found or None in found:
        return None
    return [span for span in found if span is not None and span.size > 0]


def _span(spec: str, size: int) -> Span | None:
    """What of the body is in one range, perhaps nothing; None if it is not a range."""
    found = _SPEC.fullmatch(spec)
    if found is None or spec == "-":
        return None
    first, last = found.groups()
    if not first:
        return Span(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return Span(size, size)  # refused, as the conformance suite of the distribution-spec has it
    start = min(int(first), size)
    return Span(start, min(int(last) + 1, size) if last else size)
