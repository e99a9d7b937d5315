"""The JSON of a layer's own table of contents, which eStargz and zstd:chunked keep in the blob.

Both compress each file's bytes, or each chunk of a large file, as separate members or frames; the table
says where these begin and has the hash of what is in them.
"""

from __future__ import annotations

import calendar
import re
from itertools import groupby, pairwise

import msgspec
from msgspec import Struct

from layercache.errors import FormatError, InvalidNameError, LimitError
from layercache.index.chunks import Chunk, OwnTable
from layercache.index.columns import Columns
from layercache.index.entry import FileEntry, FileType
from layercache.index.scanner import EMPTY, clean_path
from layercache.index.table import FileTable
from layercache.index.tar_header import INT64_MAX
from layercache.oci.digest import Hash
from layercache.value import json_decoder, replace

TOC_MAX = 128 << 20
"""Bytes of a table at most, compressed or not."""

ENTRIES_MAX = 1 << 20
"""Entries of a table at most: even an empty one takes 300 bytes of memory."""

CHUNK_MAX = 64 << 20
"""Bytes of a chunk at most: it is in memory as a whole until its hash is found right. Writers make 4 MiB."""

_TYPES: dict[str, FileType] = {
    "reg": "file",
    "dir": "directory",
    "symlink": "symlink",
    "hardlink": "hardlink",
    "char": "character",
    "block": "block",
    "fifo": "fifo",
}

_time = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,20}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
).fullmatch


class _Entry(Struct, rename="camel", gc=False):
    """An entry as both formats have it; what only one of them has is empty in the other."""

    name: str = ""
    type: str = ""
    size: int = 0
    modtime: str | None = None
    link_name: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    user_name: str = ""
    group_name: str = ""
    dev_major: int = 0
    dev_minor: int = 0
    xattrs: dict[str, bytes] | None = None
    digest: str = ""
    offset: int = 0
    inner_offset: int = 0
    chunk_offset: int = 0
    chunk_size: int = 0
    chunk_digest: str = ""
    chunk_type: str = ""


class _Toc(Struct):
    version: int
    entries: list[_Entry] | None


def decode_toc(data: bytes, payload_end: int, compression: str) -> OwnTable:
    """Convert a table whose digest was found right. ``payload_end``: where files end in the blob.

    Raises `FormatError` for a table that is broken, that has chunks which overlap, leave a gap or are not in
    the blob, links that lead in a circle, or names that JSON cannot hold, and `LimitError` for one that is
    too large or has a chunk of more than `CHUNK_MAX` bytes. The author of the manifest is the author of the
    table: that it says the same as the tar is not checked.
    """
    if (count := data.count(b"{")) > ENTRIES_MAX:
        raise LimitError(f"a layer's own table of contents has {count} entries (allowed are {ENTRIES_MAX})")
    try:
        toc = json_decoder(_Toc).decode(data)
        if toc.version != 1:
            raise ValueError(f"it has version {toc.version} (expected 1)")
        return _own_table(toc.entries or [], payload_end, compression)
    except (msgspec.MsgspecError, ValueError) as error:
        raise FormatError(f"a layer's own table of contents is broken: {error}") from error


def _own_table(entries: list[_Entry], payload_end: int, compression: str) -> OwnTable:
    columns = Columns()
    chunks: dict[str, list[Chunk]] = {}
    links: dict[str, str] = {}
    names: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for entry, more in _with_chunks(entries):
        made = _file_entry(entry, names)
        if not made.path and made.type != "directory":
            continue
        columns.add(made)
        chunks.pop(made.path, None)
        links.pop(made.path, None)
        if made.type == "file":
            chunks[made.path] = _chunks(entry, more)
        elif made.type == "hardlink":
            links[made.path] = made.link
    _check_links(links)
    return OwnTable(FileTable(columns, 0), _with_ends(chunks, payload_end), compression)


def _with_chunks(entries: list[_Entry]) -> list[tuple[_Entry, list[_Entry]]]:
    """Each entry, with the chunks that follow it."""
    found: list[tuple[_Entry, list[_Entry]]] = []
    for entry in entries:
        if entry.type != "chunk":
            found.append((entry, []))
        elif found and found[-1][0].type == "reg":
            found[-1][1].append(entry)
        else:
            raise ValueError("a chunk does not follow a file")
    return found


def _file_entry(entry: _Entry, names: tuple[dict[int, str], dict[int, str]]) -> FileEntry:
    type_ = _TYPES.get(entry.type)
    if type_ is None or not 0 <= entry.size <= INT64_MAX:
        raise ValueError(f"an entry has the type {entry.type[:20]!r} and the size {entry.size}")
    for text in (entry.name, entry.link_name, *(entry.xattrs or ())):
        if "\ufffd" in text or "\0" in text:
            # Writers in Go replace what is not UTF-8 by this character: which file it is cannot be known.
            raise ValueError(f"a name is not UTF-8, or has a NUL: {text[:80]!r}")
    # eStargz may state a name of a user or group at its first entry only.
    users, groups = names
    user = users[entry.uid] = entry.user_name or users.get(entry.uid, "")
    group = groups[entry.gid] = entry.group_name or groups.get(entry.gid, "")
    is_file = type_ == "file"
    return FileEntry(
        clean_path(entry.name),
        type_,
        entry.size if is_file else 0,
        entry.mode & 0o7777,
        entry.uid & 0xFFFFFFFF,
        entry.gid & 0xFFFFFFFF,
        user,
        group,
        _nanoseconds(entry.modtime) if entry.modtime else 0,
        _link(entry, type_),
        entry.xattrs or {},
        (entry.dev_major & 0xFFFFFFFF, entry.dev_minor & 0xFFFFFFFF)
        if type_ in ("character", "block")
        else None,
        sha256=_sha256(entry.digest) if is_file and entry.size else EMPTY if is_file else "",
    )


def _link(entry: _Entry, type_: FileType) -> str:
    if type_ == "hardlink":
        return clean_path(entry.link_name)
    return entry.link_name if type_ == "symlink" else ""


def _sha256(text: str) -> str:
    """The digits of a digest; "" for none."""
    if not text:
        return ""
    try:
        found = Hash(text)
    except InvalidNameError as error:
        raise ValueError(error.message) from error
    if not found.startswith("sha256:"):
        raise ValueError(f"a digest is not a sha256: {text[:20]!r}")
    return found.removeprefix("sha256:")


def _nanoseconds(text: str) -> int:
    """A time of RFC 3339."""
    found = _time(text)
    if not found or not 1 <= int(found[2]) <= 12:
        raise ValueError(f"a time is not one of RFC 3339: {text[:40]!r}")
    year, month, day, hour, minute, second = (int(each) for each in found.groups()[:6])
    seconds = calendar.timegm((year, month, 1, hour, minute, second)) + 86400 * (day - 1)
    if found[8]:
        away = 3600 * int(found[9]) + 60 * int(found[10])
        seconds += away if found[8] == "-" else -away
    nanoseconds = 1_000_000_000 * seconds + int((found[7] or "")[:9].ljust(9, "0"))
    return max(-INT64_MAX, min(nanoseconds, INT64_MAX))


def _chunks(entry: _Entry, more: list[_Entry]) -> list[Chunk]:
    """The chunks of a regular file, but for their ends: without a gap, from its first byte to its last."""
    found, at = [], 0
    for part in (entry, *more) if entry.size else ():
        size = part.chunk_size or entry.size - part.chunk_offset
        if part.chunk_offset != at or size <= 0 or part.inner_offset < 0:
            raise ValueError(f"the chunks of {entry.name[:80]!r} overlap or leave a gap")
        digest = _sha256(part.chunk_digest or ("" if more else entry.digest))
        if part.chunk_type == "zeros":
            digest = ""
        elif part.chunk_type or not digest:
            raise ValueError(f"a chunk of {entry.name[:80]!r} has no digest, or an unknown type")
        elif part.inner_offset + size > CHUNK_MAX:
            raise LimitError(f"a chunk of {entry.name[:80]!r} has {size} bytes (allowed are {CHUNK_MAX})")
        found.append(Chunk(at, size, part.offset, 0, part.inner_offset, digest))
        at += size
    if at != entry.size:
        raise ValueError(f"the chunks of {entry.name[:80]!r} have {at} bytes of {entry.size}")
    return found


def _with_ends(files: dict[str, list[Chunk]], payload_end: int) -> dict[str, tuple[Chunk, ...]]:
    """The chunks with the ends of what to read for each: where the next one begins, or the payload ends."""
    places = sorted((each.start, each.skip, each.size) for chunks in files.values() for each in chunks)
    if places and (places[0][0] <= 0 or places[-1][0] >= payload_end):
        raise ValueError("a chunk is not in the blob")
    for (start, skip, size), (next_start, next_skip, _) in pairwise(places):
        if start == next_start and skip + size > next_skip:
            raise ValueError(f"two chunks overlap at byte {start} of the blob")
    starts = [start for start, _ in groupby(place[0] for place in places)]
    ends = dict(zip(starts, [*starts[1:], payload_end], strict=True))
    return {
        path: tuple(replace(each, end=ends[each.start]) for each in chunks) for path, chunks in files.items()
    }


def _check_links(links: dict[str, str]) -> None:
    """Raise `ValueError` if hard links lead in a circle. One may lead to what an earlier layer has."""
    good: set[str] = set()
    for path in links:
        seen: set[str] = set()
        while path in links and path not in good:
            if path in seen:
                raise ValueError(f"hard links lead in a circle, at {path[:80]!r}")
            seen.add(path)
            path = links[path]
        good |= seen
