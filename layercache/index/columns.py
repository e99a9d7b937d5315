"""Entries of a tar by columns: less memory than as many `FileEntry` take, and small once compressed."""

from __future__ import annotations

import sys
from array import array
from itertools import compress, repeat, starmap
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from layercache.errors import FormatError, LimitError
from layercache.index.entry import FileEntry, FileType
from layercache.index.sparse import check_pieces
from layercache.index.tar_header import BLOCK, decode
from layercache.value import msgpack_decoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLUMNS_MAX = 256 << 20
"""Bytes of a table at most, before it is compressed: two million files with names of some 50 bytes."""

_ENTRY = 72
"""Bytes of an entry beside its strings, its attributes and its holes."""

TYPES: tuple[FileType, ...] = ("file", "directory", "symlink", "hardlink", "character", "block", "fifo")
_CODES = {type_: code for code, type_ in enumerate(TYPES)}
_FILE, _DIRECTORY = 0, 1
_LINKS = (2, 3)
_IS_LINK = bytes(code in _LINKS for code in range(256))
_DEVICES = (4, 5)

_UNKNOWN = bytes(32)
"""In place of a hash that is not known."""
_NO_HASH = _UNKNOWN.hex()

AT_ONCE = 4096
"""Entries that are made at once: making each for itself takes four times as long."""

_UInt32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
_Size = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Pieces = tuple[tuple[_Size, _Size], ...]


class _Rare(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What few entries have. Names are bytes: not all of them are UTF-8, and msgpack's strings are."""

    xattrs: tuple[tuple[bytes, bytes], ...]
    device: tuple[_UInt32, _UInt32] | None
    sparse: _Pieces | None


class _Stored(Struct, array_like=True, forbid_unknown_fields=True):
    """The columns as they are stored: integers of fixed width, little-endian; paths end in NULs.

    Views, so that a table in memory is not there twice while it is read.
    """

    tar_size: _Size
    paths: bytes
    types: memoryview
    modes: memoryview
    owners: memoryview
    sizes: memoryview
    mtimes: memoryview
    gaps: memoryview
    hashes: memoryview
    all_owners: list[tuple[_UInt32, _UInt32, bytes, bytes]]
    links: list[tuple[_UInt32, bytes]]
    rare: list[tuple[_UInt32, _Rare]]


class Columns:
    """Grows by `add`. Of entries ``0`` to ``len - 1``, in the order of the tar."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._types = bytearray()
        self._modes = array("H")
        self._owners = array("I")
        self._sizes = array("q")
        self._mtimes = array("q")
        self._offsets = array("q")
        self._hashes = bytearray()
        self._all_owners: list[tuple[int, int, str, str]] = []
        self._known: dict[tuple[int, int, str, str], int] = {}
        self._links: dict[int, str] = {}
        self._rare: dict[int, _Rare] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.paths)

    def add(self, entry: FileEntry) -> None:
        """Append an entry. Raises `LimitError` beyond `COLUMNS_MAX` bytes."""
        at = len(self.paths)
        owner = (entry.uid, entry.gid, entry.user, entry.group)
        if (known := self._known.get(owner)) is None:
            known = self._known[owner] = len(self._all_owners)
            self._all_owners.append(owner)
            self._bytes += len(entry.user) + len(entry.group) + _ENTRY
        self.paths.append(entry.path)
        self._types.append(_CODES[entry.type])
        self._modes.append(entry.mode)
        self._owners.append(known)
        self._sizes.append(entry.size)
        self._mtimes.append(entry.mtime)
        self._offsets.append(entry.offset)
        self._hashes += bytes.fromhex(entry.sha256) if entry.sha256 else _UNKNOWN
        if entry.link:
            self._links[at] = entry.link
        if entry.xattrs or entry.device or entry.sparse is not None:
            self._add_rare(at, entry)
        self._bytes += _ENTRY + len(entry.path) + len(entry.link)
        if self._bytes > COLUMNS_MAX:
            raise LimitError(f"a table of files has more than {COLUMNS_MAX} bytes, at {entry.path[:80]!r}")

    def _add_rare(self, at: int, entry: FileEntry) -> None:
        xattrs = tuple((_raw(name), value) for name, value in entry.xattrs.items())
        self._rare[at] = _Rare(xattrs, entry.device, entry.sparse)
        self._bytes += sum(len(name) + len(value) for name, value in xattrs) + 16 * len(entry.sparse or ())

    def entry(self, at: int) -> FileEntry:
        """The entry at an index from 0 to ``len - 1``."""
        uid, gid, user, group = self._all_owners[self._owners[at]]
        type_, rare = self._types[at], self._rare.get(at)
        hash_ = self._hashes[32 * at : 32 * at + 32] if type_ == _FILE else _UNKNOWN
        return FileEntry(
            self.paths[at],
            TYPES[type_],
            self._sizes[at],
            self._modes[at],
            uid,
            gid,
            user,
            group,
            self._mtimes[at],
            self._links.get(at, ""),
            {decode(name): value for name, value in rare.xattrs} if rare else {},
            rare.device if rare else None,
            self._offsets[at],
            rare.sparse if rare else None,
            hash_.hex() if hash_ != _UNKNOWN else "",
        )

    def links(self) -> list[int]:
        """The indexes of all symbolic and hard links."""
        return [*compress(range(len(self._types)), self._types.translate(_IS_LINK))]

    def __iter__(self) -> Iterator[FileEntry]:
        """All entries, in order."""
        for start in range(0, len(self.paths), AT_ONCE):
            yield from self._batch(start, min(start + AT_ONCE, len(self.paths)))

    def _batch(self, start: int, end: int) -> Sequence[FileEntry]:
        """Those from one index to another, made by functions in C alone, but for what few entries have."""
        types, owners = self._types[start:end], self._owners[start:end]
        digits = self._hashes[32 * start : 32 * end].hex()
        times = self._mtimes[start:end]
        known: dict[int, int] = {}  # files with the same time share one object
        hashes = [digits[at : at + 64] for at in range(0, len(digits), 64)]
        made = list(
            map(
                FileEntry,
                self.paths[start:end],
                map(TYPES.__getitem__, types),
                self._sizes[start:end],
                self._modes[start:end],
                *(map(field.__getitem__, owners) for field in zip(*self._all_owners, strict=True)),
                map(known.setdefault, times, times),
                map(self._links.get, range(start, end), repeat("")),
                starmap(dict, repeat(())),
                repeat(None),
                self._offsets[start:end],
                repeat(None),
                ["" if t or hash_ == _NO_HASH else hash_ for t, hash_ in zip(types, hashes, strict=True)],
            )
        )
        for at in self._rare.keys() & range(start, end) if self._rare else ():
            made[at - start] = self.entry(at)
        return made

    def encode(self, tar_size: int) -> bytes:
        """The payload of a stored table."""
        stored = _Stored(
            tar_size,
            b"".join(_raw(path) + b"\0" for path in self.paths),
            memoryview(self._types),
            _packed(self._modes),
            _packed(self._owners),
            _packed(self._sizes),
            _packed(self._mtimes),
            _packed(array("q", self._gaps())),
            memoryview(self._hashes),
            [(uid, gid, _raw(user), _raw(group)) for uid, gid, user, group in self._all_owners],
            [(at, _raw(link)) for at, link in self._links.items()],
            list(self._rare.items()),
        )
        return msgspec.msgpack.encode(stored)

    def _gaps(self) -> Iterator[int]:
        """For each file, how far its bytes are from the end of those before: small, never negative."""
        end = 0
        for type_, offset, size in zip(self._types, self._offsets, self._stored_sizes(), strict=True):
            if type_ != _FILE:
                yield 0
                continue
            yield offset - end
            end = offset + size + -(offset + size) % BLOCK

    def _stored_size(self, at: int) -> int:
        rare = self._rare.get(at)
        if rare is None or rare.sparse is None:
            return self._sizes[at]
        return sum(length for _, length in rare.sparse)

    @classmethod
    def decode(cls, payload: bytes) -> tuple[Columns, int]:
        """The columns and the size of the tar. Raises `FormatError` for what no scanner makes."""
        try:
            stored = msgpack_decoder(_Stored).decode(payload)
            made = cls()
            made._fill(stored)
        except (msgspec.MsgspecError, ValueError) as error:
            raise FormatError(f"a table of files is broken: {error}") from error
        return made, stored.tar_size

    def _fill(self, stored: _Stored) -> None:
        count = len(stored.types)
        self.paths = _paths(stored.paths, count)
        self._types = bytearray(stored.types)
        self._hashes = bytearray(stored.hashes)
        self._modes = _unpacked("H", stored.modes, count)
        self._owners = _unpacked("I", stored.owners, count)
        self._sizes = _unpacked("q", stored.sizes, count)
        self._mtimes = _unpacked("q", stored.mtimes, count)
        self._offsets = _unpacked("q", stored.gaps, count)
        self._all_owners = [
            (uid, gid, decode(user), decode(group)) for uid, gid, user, group in stored.all_owners
        ]
        self._known = {owner: at for at, owner in enumerate(self._all_owners)}
        self._links = {at: decode(link) for at, link in stored.links}
        self._rare = dict(stored.rare)
        if len(self._hashes) != 32 * count:
            raise ValueError(f"it has {count} entries and {len(self._hashes)} bytes of hashes")
        if count and (
            max(self._types) >= len(TYPES)
            or max(self._modes) > 0o7777
            or max(self._owners) >= len(self._all_owners)
        ):
            raise ValueError("an entry has an unknown type, mode or owner")
        if "" in self.paths and any(
            not path and type_ != _DIRECTORY for path, type_ in zip(self.paths, self._types, strict=True)
        ):
            raise ValueError("something else than a folder is in the place of the root")
        self._check_few(count)
        self._place(stored.tar_size)

    def _check_few(self, count: int) -> None:
        """Check what few entries have: a link has a target, a device has numbers, pieces are in order."""
        if any(
            at >= count or self._types[at] not in _LINKS or "\0" in link for at, link in self._links.items()
        ):
            raise ValueError("something else than a link has a target")
        for at, rare in self._rare.items():
            if any(b"\0" in name for name, _ in rare.xattrs):
                raise ValueError("the name of an attribute has a NUL")
            if at >= count or (rare.device is not None and self._types[at] not in _DEVICES):
                raise ValueError("something else than a device has a device's numbers")
            if rare.sparse is not None:
                if self._types[at] != _FILE:
                    raise ValueError("something else than a file has holes")
                check_pieces(rare.sparse, self._sizes[at])

    def _place(self, tar_size: int) -> None:
        """Turn the gaps, that are in the place of the offsets, into offsets, within the tar."""
        end, offsets = 0, array("q")
        for type_, gap, size in zip(self._types, self._offsets, self._stored_sizes(), strict=True):
            if type_ != _FILE:
                if size or gap:
                    raise ValueError("something else than a file has a size")
                offsets.append(0)
                continue
            if gap < BLOCK or gap % BLOCK or size < 0 or (offset := end + gap) + size > tar_size:
                raise ValueError(f"the bytes of {self.paths[len(offsets)][:80]!r} are not within the tar")
            offsets.append(offset)
            end = offset + size + -size % BLOCK
        self._offsets = offsets

    def _stored_sizes(self) -> Sequence[int]:
        """How many bytes of each entry are in the tar: a file's size, without its holes."""
        sizes = self._sizes
        if self._rare:
            sizes = sizes[:]
            for at in self._rare:
                sizes[at] = self._stored_size(at)
        return sizes


def _paths(blob: bytes, count: int) -> list[str]:
    """Paths that end in a NUL each, of which none has an empty part, "." or ".."."""
    framed = b"\0" + blob
    parts = framed.replace(b"/", b"\0")
    if (
        blob.count(0) != count
        or not framed.endswith(b"\0")
        or any(odd in framed for odd in (b"//", b"\0/", b"/\0"))
        or any(odd in parts for odd in (b"\0.\0", b"\0..\0"))
    ):
        raise ValueError("its paths are not those of its entries")
    return decode(blob).split("\0")[:-1]


def _packed(column: array[int]) -> memoryview:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return memoryview(column).cast("B")


def _unpacked(code: str, data: memoryview, count: int) -> array[int]:
    column = array(code)
    if len(data) != count * column.itemsize:
        raise ValueError(f"it has {count} entries and {len(data)} bytes of a column")
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
