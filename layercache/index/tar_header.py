"""One header block of a tar: v7, ustar, star, GNU.

Read as Go's archive/tar reads it, by which docker, containerd, podman and buildah unpack layers: what those
refuse is refused, and what those take is taken with the same meaning. Faults are `ValueError`.
"""

from __future__ import annotations

import zlib

from msgspec import Struct

BLOCK = 512

ZERO_BLOCK = bytes(BLOCK)

INT64_MAX = (1 << 63) - 1

_BLANKS = b"        "
"""What a header's own checksum counts as while it is made."""

_OLD_SPARSE_IN_HEADER = 4
_OLD_SPARSE_IN_BLOCK = 21


class Header(Struct):
    """What a header block says. ``mtime`` in nanoseconds; ``gnu``: whether it is in GNU's format."""

    type: bytes
    name: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    user: bytes
    group: bytes
    device: tuple[int, int] | None
    gnu: bool


def parse_header(block: bytes) -> Header:
    """Decode a header block, after its checksum. Raises `ValueError`."""
    check_sum(block)
    magic, type_ = block[257:263], block[156:157]
    name, user, group, gnu = _text(block[:100]), b"", b"", False
    device = None
    if magic == b"ustar\0" or (gnu := magic == b"ustar " and block[263:265] == b" \0"):
        user, group = _text(block[265:297]), _text(block[297:329])
        if type_ in b"34":
            device = (number(block[329:337]) & 0xFFFFFFFF, number(block[337:345]) & 0xFFFFFFFF)
        if prefix := _prefix(block, gnu):
            name = prefix + b"/" + name
    return Header(
        type_,
        name,
        _text(block[157:257]),
        number(block[100:108]),
        number(block[108:116]),
        number(block[116:124]),
        number(block[124:136]),
        number(block[136:148]) * 1_000_000_000,
        user,
        group,
        device,
        gnu,
    )


def _prefix(block: bytes, gnu: bool) -> bytes:
    """What stands before the name, without the slash between them."""
    if not block[345] and not block[357]:
        return b""
    if not gnu:
        # star has times behind a shorter prefix.
        return _text(block[345:476] if block[508:512] == b"tar\0" else block[345:500])
    try:
        for start in (345, 357):
            if block[start]:
                number(block[start : start + 12])
    except ValueError:
        # GNU's format has times here, and no prefix. Go before 1.8 wrote one (golang.org/issues/12594), and
        # so did the docker of those years, whose layers are still around.
        prefix = _text(block[345:500])
        return prefix if prefix.isascii() else b""
    return b""


def check_sum(block: bytes) -> None:
    """Raise `ValueError` if a header's checksum is wrong. Signed sums are right too, as Sun wrote them."""
    stated = octal(block[148:156])
    rest = block[:148] + _BLANKS + block[156:]
    # Adler-32 has the sum of all bytes plus one in its lower half, modulo 65521. That of half a block is
    # less, so it is exact, and much faster than sum().
    found = (zlib.adler32(rest[:256]) & 0xFFFF) + (zlib.adler32(rest[256:]) & 0xFFFF) - 2
    if stated != found and stated != found - 256 * sum(byte > 0x7F for byte in rest):
        raise ValueError(f"a header's checksum is wrong: it states {stated}, its bytes sum up to {found}")


def _text(field: bytes) -> bytes:
    end = field.find(0)
    return field if end < 0 else field[:end]


def octal(field: bytes) -> int:
    """A number in octal digits, padded with blanks and NULs; 0 for an empty field. Raises `ValueError`."""
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit():
        digits = _text(digits)
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise ValueError(f"a header has {field!r} where a number should be")
    return int(digits, 8)


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
