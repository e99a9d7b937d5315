"""How an index is stored: what it is, its version, the hash of what follows, and that, compressed.

A later signed fact can name an index by that hash. Rot is found before anything is decoded.
"""

from __future__ import annotations

import hashlib
import sys

from layercache.errors import FormatError

_HASH = 32


def seal(magic: bytes, payload: bytes, level: int = 9) -> bytes:
    """The stored form of a payload. ``magic``: the format and its version."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    body = zstd.compress(payload, level)
    return magic + hashlib.sha256(body).digest() + body


def unseal(magic: bytes, data: bytes, limit: int) -> bytes:
    """The payload, at most ``limit`` bytes of it. Raises `FormatError` for anything but what `seal` made."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    body = memoryview(data)[len(magic) + _HASH :]
    if data[: len(magic)] != magic:
        raise FormatError(f"an index does not begin with {magic!r}: {data[: len(magic)]!r}")
    if hashlib.sha256(body).digest() != data[len(magic) : len(magic) + _HASH]:
        raise FormatError("an index is damaged: its bytes do not have the hash that it states")
    inflating = zstd.ZstdDecompressor()
    try:
        payload = inflating.decompress(body, limit)
    except zstd.ZstdError as error:
        raise FormatError(f"an index is not compressed properly: {error}") from error
    if not inflating.eof or inflating.unused_data:
        raise FormatError(f"an index is cut off, has bytes behind its end, or more than {limit} bytes")
    return payload
