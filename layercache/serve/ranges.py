"""Ranges of a body: what a request asks for, and what may be sent for it (RFC 9110, 14)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from layercache.serve.messages import RegistryError

if TYPE_CHECKING:
    from layercache.serve.messages import RequestHeaders

RANGES_MAX = 1024
"""Ranges of one request. podman asks for as many parts of a layer at a time."""

_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})")


class Span(NamedTuple):
    """Bytes ``start`` to ``end`` (exclusive) of a body."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def requested(headers: RequestHeaders, size: int, etag: str) -> list[Span] | None:
    """The parts of a body of ``size`` bytes that a GET asks for, in its order; None: all of it.

    What is not a range of bytes is ignored, as is a range of another version than ``etag`` (If-Range).
    Raises `RegistryError`: 416 where no part of the body is in any range, 400 for more ranges than
    `RANGES_MAX` or for more bytes than the body has: clients then ask for fewer at a time.
    """
    unit, _, text = headers.get("range", "").partition("=")
    if unit.strip().lower() != "bytes" or headers.get("if-range", etag).strip() != etag:
        return None
    specs = [spec for each in text.split(",", RANGES_MAX + 1) if (spec := each.strip())]
    if len(specs) > RANGES_MAX:
        raise RegistryError(400, "RANGE_INVALID", f"more than {RANGES_MAX} ranges in one request")
    found = [_span(spec, size) for spec in specs]
    if not found or None in found:
        return None
    spans = [span for span in found if span is not None and span.size > 0]
    if not spans:
        outside = [("content-range", f"bytes */{size}")]
        raise RegistryError(416, "RANGE_INVALID", f"the blob has {size} bytes", headers=outside)
    if sum(span.size for span in spans) > size:
        raise RegistryError(400, "RANGE_INVALID", "the ranges overlap: ask for each byte once")
    return spans


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


def is_match(condition: str, etag: str) -> bool:
    """Whether an If-None-Match names this version: the weak comparison of RFC 9110, 13.1.2."""
    tags = [each.strip().removeprefix("W/") for each in condition.split(",")]
    return etag in tags or tags == ["*"]
