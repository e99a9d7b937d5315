"""Follows a tar as its bytes pass, and makes an entry of each file, folder, link and device in it.

What Go's archive/tar and containerd make of a tar is the measure, since runtimes unpack layers by them:

- A name is cleaned as if the tar's root were "/": "./a//b/../c" and "/a/c" and "../a/c" are "a/c". An entry
  that is named as the root itself is left out, except for a folder.
- Global extended headers are checked and otherwise ignored, as are entries of types that are not files.
- Links, folders and devices have no bytes, whatever size they state.
- Owners and device numbers have 32 bits, as the kernel takes them; times have 64 bits of nanoseconds.
- A tar ends at two blocks of zeros, or where its bytes end behind an entry. What follows does not matter.

Memory is bounded, whatever the tar: one extended header at a time, and the map of one file's holes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from layercache.errors import FormatError, LimitError
from layercache.index import pax
from layercache.index.entry import FileEntry, FileType
from layercache.index.sparse import read_pieces
from layercache.index.tar_header import BLOCK, INT64_MAX, ZERO_BLOCK, Header, decode, parse_header

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from hashlib import _Hash as Hasher

    _Steps = Generator[int, bytes, None]
    _Bytes = tuple[int, tuple[tuple[int, int], ...] | None, str]

META_MAX = 1 << 20
"""Bytes of an extended header or of a long name at most, as in Go."""

HOLES_MAX = 256 << 20
"""Bytes of holes that are hashed in a whole tar, some 0.15 s. Of a file with more, the hash stays unknown:
a tar of one block can state a file of 8 EiB.
"""

_ZEROS = bytes(1 << 20)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_TYPES: dict[bytes, FileType] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "character",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
}

_META = frozenset((b"x", b"g", b"L", b"K"))

_NO_BYTES: _Bytes = (0, None, "")


def clean_path(name: str) -> str:
    """A name in a tar as a path of `FileEntry`: lexically, as if the root of the tar were "/"."""
    path = name.removesuffix("/")
    if "//" not in path and "/." not in path and not path.startswith(("/", ".")):
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Pending:
    """What headers before an entry's own say of it."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.name = b""
        self.link = b""


_NOTHING = _Pending()


class TarScanner:
    """Hands each entry of a tar to ``sink``, in order, once its last byte has come.

    ``feed`` and ``close`` raise `FormatError` where the tar is broken, and `LimitError` where it has a header
    of more than `META_MAX` bytes, and say at which byte. After that the scanner is of no use. Errors begin
    with ``what``.

    ``position``: how many bytes have come.
    """

    # The parser is a generator. It yields how many bytes it wants next: a number above 0, and it is sent
    # these bytes; or a number below 0, and as many bytes pass, through the hasher if there is one; or 0 for
    # no more.

    def __init__(self, sink: Callable[[FileEntry], object], what: str = "the tar") -> None:
        self._sink = sink
        self._what = what
        self.position = 0
        self._hasher: Hasher | None = None
        self._holes_left = HOLES_MAX
        self._may_end = True
        self._at = 0  # where the header begins that the parser is at
        self._held = b""
        self._steps = self._parse()
        self._wanted = next(self._steps)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes, as many as there are."""
        try:
            self._feed(memoryview(data))
        except ValueError as error:
            raise FormatError(f"{self._what} is broken at byte {self._at}: {error}") from error

    def _feed(self, view: memoryview) -> None:
        start, size, at = self.position, len(view), 0
        wanted, send, held = self._wanted, self._steps.send, self._held
        while at < size and wanted:
            if wanted > 0:
                block = bytes(view[at : at + wanted - len(held)])
                at += len(block)
                if held:
                    block = held + block
                if len(block) < wanted:
                    held = block
                    break
                held = b""
            else:
                piece, block = view[at : at - wanted], b""
                at += len(piece)
                if self._hasher:
                    self._hasher.update(piece)
                wanted += len(piece)
                if wanted:
                    break
            self.position = start + at
            wanted = send(block)
        self._wanted, self._held = wanted, held
        self.position = start + size

    def close(self) -> None:
        """Check that the tar is complete: its bytes end at its end or behind an entry."""
        if not self._may_end or self._held:
            raise FormatError(f"{self._what} is cut off at byte {self.position}")

    def _parse(self) -> _Steps:
        pending: _Pending | None = None
        while (block := (yield BLOCK)) != ZERO_BLOCK:
            self._at = self.position - BLOCK
            self._may_end = False
            header = parse_header(block)
            if header.type in _META:
                pending = yield from self._meta(header, pending or _Pending())
            else:
                yield from self._entry(header, block, pending or _NOTHING)
                pending = None
            self._may_end = True
            if padding := -self.position % BLOCK:
                yield -padding
        self._at = self.position
        if (yield BLOCK) != ZERO_BLOCK:
            raise ValueError("one block of zeros stands alone (expected two, which end a tar)")
        while True:
            yield 0

    def _meta(self, header: Header, pending: _Pending) -> Generator[int, bytes, _Pending | None]:
        if header.size > META_MAX:
            raise LimitError(
                f"{self._what} has an extended header of {header.size} bytes at byte {self._at} "
                f"(at most {META_MAX} are allowed)"
            )
        if header.size < 0:
            raise ValueError(f"an extended header states a size of {header.size} bytes")
        data = (yield header.size) if header.size else b""
        if header.type == b"L":
            pending.name = data.partition(b"\0")[0]
        elif header.type == b"K":
            pending.link = data.partition(b"\0")[0]
        else:
            pending.records = pax.parse_records(data)
            if header.type == b"g":
                return None
        return pending

    def _entry(self, header: Header, block: bytes, pending: _Pending) -> _Steps:
        """The bytes of an entry, up to the padding behind them, and the entry itself."""
        records = pending.records
        if records:
            _apply(records, header)
        header.name, header.link = pending.name or header.name, pending.link or header.link
        type_ = _TYPES.get(header.type)
        if header.type == b"\0" and header.name.endswith(b"/"):
            type_ = "directory"
        stored = header.size if type_ == "file" or type_ is None else 0
        if stored < 0:
            raise ValueError(f"an entry states a size of {stored} bytes")
        pieces = None
        if header.type == b"S" or (records and pax.sparse_version(records) is not None):
            if type_ != "file":
                raise ValueError(f"an entry of type {header.type!r} has a map of holes")
            pieces = yield from read_pieces(header, block, records)
        offset, digest = self.position, EMPTY
        if pieces is not None:
            digest = yield from self._sparse(header.size, pieces)
        elif type_ == "file" and stored:
            running = self._hasher = sha256()
            yield -stored
            self._hasher = None
            digest = running.hexdigest()
        elif stored:
            yield -stored
        if type_ is None:
            return
        entry = _entry(header, type_, records, (offset, pieces, digest) if type_ == "file" else _NO_BYTES)
        if entry.path or type_ == "directory":
            self._sink(entry)

    def _sparse(self, size: int, pieces: tuple[tuple[int, int], ...]) -> Generator[int, bytes, str]:
        """The pieces of a file with holes, and then the hash of the file; "" if its holes are too large."""
        stored = sum(length for _, length in pieces)
        self._holes_left -= size - stored
        if self._holes_left < 0:
            self._holes_left += size - stored
            if stored:
                yield -stored
            return ""
        running, at = sha256(), 0
        for offset, length in pieces:
            _hash_zeros(running, offset - at)
            self._hasher = running
            yield -length
            self._hasher = None
            at = offset + length
        _hash_zeros(running, size - at)
        return running.hexdigest()


def _hash_zeros(running: Hasher, count: int) -> None:
    for start in range(0, count, len(_ZEROS)):
        running.update(_ZEROS[: count - start])


def _apply(records: dict[bytes, bytes], header: Header) -> None:
    """What extended headers say in place of the header. An empty value changes nothing."""
    given = {key: value for key, value in records.items() if value}
    header.name = given.get(b"path", header.name)
    header.link = given.get(b"linkpath", header.link)
    if user := given.get(b"uname"):
        header.user = decode(user)
    if group := given.get(b"gname"):
        header.group = decode(group)
    if size := given.get(b"size"):
        header.size = pax.integer(size)
    if uid := given.get(b"uid"):
        header.uid = pax.integer(uid)
    if gid := given.get(b"gid"):
        header.gid = pax.integer(gid)
    if mtime := given.get(b"mtime"):
        header.mtime = pax.nanoseconds(mtime)


def _entry(header: Header, type_: FileType, records: dict[bytes, bytes], where: _Bytes) -> FileEntry:
    offset, pieces, digest = where
    link = ""
    if type_ == "symlink":
        link = decode(header.link)
    elif type_ == "hardlink":
        link = clean_path(decode(header.link))
    return FileEntry(
        clean_path(decode(header.name)),
        type_,
        header.size if type_ == "file" else 0,
        header.mode & 0o7777,
        header.uid & 0xFFFFFFFF,
        header.gid & 0xFFFFFFFF,
        header.user,
        header.group,
        max(-INT64_MAX, min(header.mtime, INT64_MAX)),
        link,
        pax.xattrs(records) if records else {},
        header.device if type_ in ("character", "block") else None,
        offset,
        pieces,
        digest,
    )
