"""What a client's headers ask for: types of documents, and only what it does not have yet."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layercache.serve.messages import RequestHeaders

SHORT = 2048
"""Characters of a header of which the reading is remembered."""

REMEMBERED = 256


def accepts(headers: RequestHeaders, media_type: str) -> bool:
    """Whether a client takes a document of this type (RFC 9110, 12.5.1). One that states nothing takes any.

    Preferences (";q=") do not count, as with other registries: a manifest has one type. A client may send a
    header for each type, as Docker and containers/image do.
    """
    first = headers.get("accept", "")
    if not first or _names(first, media_type):
        return True
    return any(_names(value, media_type) for name, value in headers.items() if name.lower() == "accept")


def is_unchanged(headers: RequestHeaders, etag: str) -> bool:
    """Whether a client has what this ETag stands for, by its If-None-Match (RFC 9110, 13.1.2)."""
    wanted = headers.get("if-none-match", "")
    return bool(wanted) and any(each.strip().removeprefix("W/") in (etag, "*") for each in wanted.split(","))


def _names(value: str, media_type: str) -> bool:
    return _remembered(value, media_type) if len(value) <= SHORT else _read(value, media_type)


def _read(value: str, media_type: str) -> bool:
    ranges = {each.partition(";")[0].strip().lower() for each in value.split(",")}
    return not ranges.isdisjoint((media_type, "*/*", "application/*"))


_remembered = lru_cache(REMEMBERED)(_read)
