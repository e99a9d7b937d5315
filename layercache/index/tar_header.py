"""One header block of a tar: v7, ustar, star, GNU.

Read as Go's archive/tar reads it, by which docker, containerd, podman and buildah unpack layers: what those
refuse is refused, and what those take is taken with the same meaning. Faults are `ValueError`.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from zlib import adler32

import msgspec

BLOCK = 512

ZERO_BLOCK = bytes(BLOCK)

INT64_MAX = (1 << 63) - 1

_OLD_SPARSE_IN_HEADER = 4
_OLD_SPARSE_IN_BLOCK = 21


class Header(msgspec.Struct):
    """What a header block says. ``mtime`` in nanoseconds; ``gnu``: whether it is in GNU's format."""

    type: bytes
    name: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    user: str
    group: str
    device: tuple[int, int] | None
    gnu: bool


_DEVICES = frozenset((b"3", b"4"))

_fields = Struct("100s24s12s12s8sc100s8s64s16s155s12s").unpack
"""Name, mode and owners, size, time, checksum, type, link, magic, owners' names, device, prefix, the rest."""


def parse_header(block: bytes) -> Header:
    """Decode a header block, after its checksum. Raises `ValueError`."""
    name, numbers, size, mtime, checksum, type_, link, magic, names, devices, prefix, _ = _fields(block)
    check_sum(block, checksum)
    user, group, gnu = "", "", False
    device = (0, 0) if type_ in _DEVICES else None
    name = text(name)
    if magic.startswith(b"ustar\0") or (gnu := magic == b"ustar  \0"):
        user, group = _names(names)
        if device:
            major, minor = devices[:8], devices[8:]
            device = (number(major) & 0xFFFFFFFF, number(minor) & 0xFFFFFFFF)
        if (prefix[0] or prefix[12]) and (folder := _prefix(block, gnu)):
            name = folder + b"/" + name
    mode, uid, gid = _numbers(numbers)
    nanoseconds = _time(mtime) * 1_000_000_000
    link = text(link) if link[0] else b""
    return Header(type_, name, link, mode, uid, gid, number(size), nanoseconds, user, group, device, gnu)


@lru_cache(maxsize=256)
def _names(fields: bytes) -> tuple[str, str]:
    """User and group, which are the same in most headers."""
    return decode(text(fields[:32])), decode(text(fields[32:]))


@lru_cache(maxsize=256)
def _numbers(fields: bytes) -> tuple[int, int, int]:
    """Mode, user's and group's number: as with their names."""
    return number(fields[:8]), number(fields[8:16]), number(fields[16:])


@lru_cache(maxsize=4096)
def _checksum(field: bytes) -> tuple[int, int]:
    """What it states, and what to add to the sum of a block: the field itself counts as eight blanks."""
    return octal(field), 8 * 0x20 - sum(field)


def _prefix(block: bytes, gnu: bool) -> bytes:
    """What stands before the name, without the slash between them."""
    if not gnu:
        # star has times behind a shorter prefix.
        return text(block[345:476] if block[508:512] == b"tar\0" else block[345:500])
    try:
        for start in (345, 357):
            if block[start]:
                number(block[start : start + 12])
    except ValueError:
        # GNU's format has times here, and no prefix. Go before 1.8 wrote one (golang.org/issues/12594), and
        # so did the docker of those years, whose layers are still around.
        prefix = text(block[345:500])
        return prefix if prefix.isascii() else b""
    return b""


def check_sum(block: bytes, field: bytes) -> None:
    """Raise `ValueError` if a header's checksum is wrong. Signed sums are right too, as Sun wrote them."""
    # Adler-32 has the sum of all bytes plus one in its lower half, modulo 65521. That of half a block is
    # less, so it is exact, and much faster than sum().
    stated, own = _checksum(field)
    found = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2 + own
    if stated != found and stated != found - 256 * sum(byte > 0x7F for byte in block[:148] + block[156:]):
        raise ValueError(f"a header's checksum is wrong: it states {stated}, its bytes sum up to {found}")


def decode(raw: bytes) -> str:
    """Bytes of a name as a string; those that are not UTF-8 as surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def text(field: bytes) -> bytes:
    """What stands before the first NUL."""
    end = field.find(0)
    return field if end < 0 else field[:end]


def octal(field: bytes) -> int:
    """A number in octal digits, padded with blanks and NULs; 0 for an empty field. Raises `ValueError`."""
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit():
        digits = text(digits)
    try:
        # int() alone takes signs, underscores and blanks.
        return int(digits if digits.isdigit() else b"9", 8)
    except ValueError:
        raise ValueError(f"a header has {field!r} where a number should be") from None


def number(field: bytes) -> int:
    """A number in octal digits, or in base 256 (GNU): two's complement, of which the first bit is a mark.

    Raises `ValueError` also for what does not fit into 64 bits.
    """
    if field[0] < 0x80:
        return octal(field)
    bits = 8 * len(field) - 1
    value = int.from_bytes(field, "big") - (1 << bits)
    if value >> (bits - 1):
        value -= 1 << bits
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise ValueError(f"a header has a number that is too large: {value}")
    return value


_time = lru_cache(maxsize=1024)(number)
"""Those of whole trees are the same."""


def old_sparse(block: bytes) -> tuple[list[tuple[int, int]], int, bool]:
    """Of a file with holes in GNU's old format: pieces in the header, its real size, whether more follow."""
    return _pieces(block, 386, _OLD_SPARSE_IN_HEADER), number(block[483:495]), bool(block[482])


def more_sparse(block: bytes) -> tuple[list[tuple[int, int]], bool]:
    """Pieces in a block that follows the header of a file with holes; whether more follow."""
    return _pieces(block, 0, _OLD_SPARSE_IN_BLOCK), bool(block[504])


def _pieces(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for at in range(start, start + 24 * count, 24):
        if not block[at]:
            break
        found.append((number(block[at : at + 12]), number(block[at + 12 : at + 24])))
    return found
