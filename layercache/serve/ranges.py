"""Ranges of a body: what a request asks for, and what may be sent for it (RFC 9110, 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.serve.messages import RegistryError
from layercache.streams.byte_ranges import Span, spans

if TYPE_CHECKING:
    from layercache.serve.messages import RequestHeaders

RANGES_MAX = 1024
"""Ranges of one request. podman asks for as many parts of a layer at a time."""


def requested(headers: RequestHeaders, size: int, etag: str) -> list[Span] | None:
    """The parts of a body of ``size`` bytes that a GET asks for, in its order; None: all of it.

    What is not a range of bytes is ignored, as is a range of another version than ``etag`` (If-Range).
    Raises `RegistryError`: 416 where no part of the body is in any range, 400 for more ranges than
    `RANGES_MAX` or for more bytes than the body has: clients then ask for fewer at a time.
    """
    header = headers.get("range", "")
    if headers.get("if-range", etag).strip() != etag:
        return None
    if header.count(",") >= RANGES_MAX:
        raise RegistryError(400, "RANGE_INVALID", f"more than {RANGES_MAX} ranges in one request")
    found = spans(header, size)
    if found is None:
        return None
    if not found:
        outside = [("content-range", f"bytes */{size}")]
        raise RegistryError(416, "RANGE_INVALID", f"the blob has {size} bytes", headers=outside)
    if sum(span.size for span in found) > size:
        raise RegistryError(400, "RANGE_INVALID", "the ranges overlap: ask for each byte once")
    return found


def is_match(condition: str, etag: str) -> bool:
    """Whether an If-None-Match names this version: the weak comparison of RFC 9110, 13.1.2."""
    tags = [each.strip().removeprefix("W/") for each in condition.split(",")]
    return etag in tags or tags == ["*"]
