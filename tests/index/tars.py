"""Tars for tests, and what Python's `tarfile` says is in them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING, cast

from layercache.index.entry import FileEntry, FileType
from layercache.index.scanner import TarScanner, clean_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TYPES: dict[bytes, FileType] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "character",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "directory",
    tarfile.FIFOTYPE: "fifo",
}


def scan(data: bytes, step: int = 1 << 16) -> list[FileEntry]:
    """The entries that the scanner finds when it gets ``step`` bytes at a time."""
    found: list[FileEntry] = []
    scanner = TarScanner(found.append)
    for at in range(0, len(data), step):
        scanner.feed(memoryview(data)[at : at + step])
    scanner.close()
    return found


def make(
    members: Iterable[tuple[tarfile.TarInfo, bytes]],
    format: int = tarfile.PAX_FORMAT,
    headers: dict[str, str] | None = None,
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=format, errors="surrogateescape", pax_headers=headers
    ) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, type: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = type
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def truth(data: bytes) -> list[FileEntry]:
    """The entries that `tarfile` finds."""
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        return [entry for each in tar if (entry := _entry(tar, each)) is not None]


def _entry(tar: tarfile.TarFile, each: tarfile.TarInfo) -> FileEntry | None:
    type_ = TYPES[each.type]
    path = clean_path(each.name)
    if not path and type_ != "directory":
        return None
    file = tar.extractfile(each) if type_ == "file" else None
    link = clean_path(each.linkname) if type_ == "hardlink" else each.linkname if type_ == "symlink" else ""
    return FileEntry(
        path,
        type_,
        each.size if file else 0,
        each.mode & 0o7777,
        each.uid & 0xFFFFFFFF,
        each.gid & 0xFFFFFFFF,
        each.uname,
        each.gname,
        _nanoseconds(each),
        link,
        xattrs(each.pax_headers),
        (each.devmajor, each.devminor) if type_ in ("character", "block") else None,
        each.offset_data if file else 0,
        _pieces(each) if file else None,
        hashlib.sha256(file.read()).hexdigest() if file else "",
    )


def _pieces(each: tarfile.TarInfo) -> tuple[tuple[int, int], ...] | None:
    # typeshed has another type for it than it is
    pieces = cast("list[tuple[int, int]] | None", each.sparse)
    return None if pieces is None else tuple(piece for piece in pieces if piece[1])


def _nanoseconds(each: tarfile.TarInfo) -> int:
    text = each.pax_headers.get("mtime")
    if text is None:
        return int(each.mtime) * 10**9
    whole, _, fraction = text.partition(".")
    below = int(fraction[:9].ljust(9, "0"))
    return int(whole) * 10**9 + (-below if whole.startswith("-") else below)


def xattrs(headers: Mapping[str, str]) -> dict[str, bytes]:
    return {
        key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
        for key, value in headers.items()
        if key.startswith("SCHILY.xattr.")
    }


def record(key: str, value: str) -> bytes:
    """A record of an extended header."""
    body = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    size = len(body) + 1
    while len(str(size)) + len(body) != size:
        size += 1
    return str(size).encode() + body


def raw(type: bytes, content: bytes = b"", **fields: int) -> bytes:
    """An entry of GNU's format, header and bytes; what it states may be false, as no writer would make it.

    ``fields``: ``size``, ``uid``, ``device`` (the major number).
    """
    block = bytearray(512)
    block[:4], block[156:157] = b"name", type
    block[257:265] = b"ustar  \0"
    for start, length, value in (
        (124, 12, fields.get("size", len(content))),
        (108, 8, fields.get("uid", 0)),
        (329, 8, fields.get("device", 0)),
    ):
        bits = 8 * length - 1
        block[start : start + length] = (value & ((1 << bits) - 1) | 1 << bits).to_bytes(length, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + bytes(-len(content) % 512)
