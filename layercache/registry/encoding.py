"""Decodes bodies that have a Content-Encoding, though none was asked for (RFC 9110, 8.4)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from layercache.errors import FormatError, LimitError, SourceError
from layercache.oci.descriptor import GZIP, ZSTD
from layercache.streams.inflate import InflatedReader
from layercache.streams.limits import Limits
from layercache.streams.readers import HEAD, BytesReader, sniff

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_NOTHING = frozenset({"", "identity", "aws-chunked"})
"""Codings that leave the bytes as they are; the last is how S3 remembers in what way an object was sent."""

_INFLATED = {"gzip": GZIP, "x-gzip": GZIP, "zstd": ZSTD}
DEFLATE = "deflate"

CODINGS_MAX = 2
"""Codings on top of each other at most."""


class TooBigError(SourceError):
    """A body has more bytes than any valid one."""


def codings(header: str) -> list[str]:
    """The codings that a Content-Encoding header names, in the order in which they were applied."""
    return [name for part in header.split(",") if (name := part.strip().lower()) not in _NOTHING]


def is_encoded(response: BaseHTTPResponse) -> bool:
    """Whether the answer states a content encoding."""
    return bool(codings(response.headers.get("Content-Encoding", "")))


def decoded(data: bytes, header: str, limit: int, what: str) -> bytes:
    """The document inside an encoded body; `SourceError` where it is larger than ``limit`` bytes.

    Bytes that do not begin as the stated coding does are returned as they are.
    """
    names = codings(header)
    if len(names) > CODINGS_MAX:
        raise SourceError(f"{what} comes with more than {CODINGS_MAX} content encodings")
    for name in reversed(names):
        try:
            data = _undone(name, data, limit, what)
        except LimitError as error:
            raise too_large(what, limit) from error
        except (FormatError, zlib.error) as error:
            raise SourceError(f"{what} cannot be decoded: it is not valid {name}") from error
    return data


def too_large(what: str, limit: int) -> TooBigError:
    return TooBigError(f"{what} is larger than {limit} bytes", hint="that is more than any real one has")


def _undone(name: str, data: bytes, limit: int, what: str) -> bytes:
    if name == DEFLATE:
        return _inflated(data, limit)
    compression = _INFLATED.get(name)
    if compression is None:
        raise SourceError(
            f"{what} has the unsupported content encoding {name!r}",
            hint="no encoding was asked for: a proxy may have added it",
        )
    if sniff(data[:HEAD]) != compression:
        return data
    with InflatedReader(BytesReader(data), compression, Limits(size=limit), what) as reader:
        return reader.read()


def _inflated(data: bytes, limit: int) -> bytes:
    """What "deflate" means: zlib's format, or what some servers send instead, the bare stream inside it."""
    for wbits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        inflater = zlib.decompressobj(wbits)
        try:
            found = inflater.decompress(data, limit + 1)
        except zlib.error:
            continue
        if len(found) > limit:
            raise LimitError("it inflates to too much")
        if inflater.eof:
            return found
    return data
