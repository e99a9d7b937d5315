"""Extended headers of a tar (POSIX pax, "pax Extended Header"), and GNU's records of a file's holes.

Faults are `ValueError`.
"""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

from layercache.index.tar_header import INT64_MAX

SCHILY = b"SCHILY.xattr."
LIBARCHIVE = b"LIBARCHIVE.xattr."

_NO_NUL = frozenset((b"path", b"linkpath", b"uname", b"gname"))

_MAP = b"GNU.sparse.map"
_PIECE = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")

_number = re.compile(rb"[+-]?[0-9]{1,40}").fullmatch
_time = re.compile(rb"([+-]?[0-9]{1,40})(?:\.([0-9]*))?").fullmatch


def parse_records(data: bytes) -> dict[bytes, bytes]:
    """Decode records of "length key=value"; the last of a key counts. Raises `ValueError`.

    Version 0.0 of GNU's sparse files repeats two keys; they become the map that version 0.1 has.
    """
    records: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        blank = data.find(b" ", at, at + 20)
        if blank < 0 or not data[at:blank].isdigit():
            raise ValueError("an extended header has a record without a length")
        next_ = at + int(data[at:blank])
        equals = data.find(b"=", blank, next_)
        if next_ > end or equals < blank + 2 or data[next_ - 1] != 0x0A:
            raise ValueError("an extended header has a record that is broken")
        key, value = data[blank + 1 : equals], data[equals + 1 : next_ - 1]
        if b"\0" in (value if key in _NO_NUL else key):
            raise ValueError(f"an extended header has a NUL in {key.decode('ascii', 'backslashreplace')!r}")
        if key in _PIECE:
            if key != _PIECE[len(pieces) % 2] or b"," in value:
                raise ValueError("an extended header has a broken map of a file's holes")
            pieces.append(value)
        else:
            records[key] = value
        at = next_
    if pieces:
        records[_MAP] = b",".join(pieces)
    return records


def integer(text: bytes) -> int:
    """A decimal number of 64 bits. Raises `ValueError`."""
    if not _number(text) or not -INT64_MAX - 1 <= (value := int(text)) <= INT64_MAX:
        raise ValueError(f"an extended header has {text[:40]!r} where a number should be")
    return value


def nanoseconds(text: bytes) -> int:
    """A time in seconds, with a fraction or without, as nanoseconds. Raises `ValueError`."""
    found = _time(text)
    if not found:
        raise ValueError(f"an extended header has {text[:40]!r} where a time should be")
    fraction = int(found[2][:9].ljust(9, b"0")) if found[2] else 0
    return int(found[1]) * 1_000_000_000 + (-fraction if text.startswith(b"-") else fraction)


def xattrs(records: dict[bytes, bytes]) -> dict[str, bytes]:
    """Extended attributes by name: star's records, and libarchive's for those that star's do not have.

    Without those whose name no file system takes.
    """
    found: dict[str, bytes] = {}
    for key, value in records.items():
        if key.startswith(SCHILY):
            found[key[len(SCHILY) :].decode("utf-8", "surrogateescape")] = value
    for key, value in records.items():
        if key.startswith(LIBARCHIVE):
            name = unquote_to_bytes(key[len(LIBARCHIVE) :]).decode("utf-8", "surrogateescape")
            try:
                # libarchive leaves out the "=" at the end.
                found.setdefault(name, binascii.a2b_base64(value + b"=" * (-len(value) % 4)))
            except binascii.Error:
                continue  # of these two forms, runtimes read the other
    return {name: value for name, value in found.items() if name and "\0" not in name}


def sparse_version(records: dict[bytes, bytes]) -> int | None:
    """How a file's holes are noted: 0 in the records, 1 before its bytes; None for a file without holes."""
    version = (records.get(b"GNU.sparse.major", b""), records.get(b"GNU.sparse.minor", b""))
    if version == (b"1", b"0"):
        return 1
    if version in ((b"0", b"0"), (b"0", b"1")) or (version == (b"", b"") and records.get(_MAP)):
        return 0
    return None


def sparse_map(records: dict[bytes, bytes]) -> list[tuple[int, int]]:
    """The pieces of a file with holes, of version 0. Raises `ValueError`."""
    numbers = records.get(_MAP, b"").split(b",") if records.get(_MAP) else []
    if len(numbers) != 2 * integer(records.get(b"GNU.sparse.numblocks", b"")):
        raise ValueError("an extended header states another number of a file's pieces than it has")
    values = [integer(each) for each in numbers]
    return list(zip(values[::2], values[1::2], strict=True))
