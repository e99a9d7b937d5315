"""A layer by its own table of contents, of eStargz or zstd:chunked, which its image's manifest vouches for.

The table says where in the blob the chunks of each file are, not where in the tar. So each file is given a
place in a virtual tar, which has nothing but the bytes of files, one after the other; what reads files
by their offsets reads that.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
from msgspec import Meta

from layercache.errors import DigestMismatchError, FormatError, LimitError
from layercache.files.spans_of_blob import NoPlaceError, SpansOfBlob, WrongSpanError
from layercache.index.columns import Columns
from layercache.index.envelope import seal, unseal
from layercache.index.own_table import read_own_table
from layercache.index.table import FileTable
from layercache.index.tar_header import INT64_MAX
from layercache.streams.readers import BytesReader, JudgingReader
from layercache.value import msgpack_decoder, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.index.chunks import Chunk, OwnTable, Read
    from layercache.oci.digest import Digest
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver

KIND = "toc-1"
MAGIC = b"layercache toc 1\n"

WORTH_FROM = 1 << 20
"""Bytes of a blob from which its own table is read: a smaller one is fetched and inflated as a whole."""

TOC_MAX = 256 << 20
TOGETHER = 8 << 20
"""Bytes of the blob that are asked for in one request at most, but for a chunk that is longer."""

FIRST = 256 << 10
"""The same for the first request; each further one may be for twice as much as the one before."""

INFLATED = 32 << 20
"""Bytes of files that are inflated at a time at most, but for a chunk that is longer."""

_Part = tuple[Annotated[int, Meta(ge=0)], bytes]


def find_own_tar(resolver: Resolver, state: LayerState) -> OwnTar | None:
    """The layer by its own table; None if its annotations name none, or the blob cannot be read now.

    What was read for it is kept in the nearest tier: its digest is in the annotations, so it needs no trust.
    Raises `FormatError`, `DigestMismatchError` or `LimitError` where the table is not what they say.
    """
    identity = state.identity
    if not state.annotations or identity.digest is None or (identity.size or 0) < WORTH_FROM:
        return None
    kept = resolver.derived.find(KIND, identity, decoded)
    parts = kept or []
    digest = identity.digest

    def work(read: Read) -> OwnTable | None:
        return read_own_table(_remembering(read, parts), identity.size or 0, state.annotations)

    try:
        own = SpansOfBlob(resolver, state, digest).use(work)
    except NoPlaceError:
        return None
    except WrongSpanError as error:
        raise error.__cause__ or error from None
    if own is None:
        return None
    if kept is None:
        resolver.derived.keep(KIND, identity, seal(MAGIC, msgspec.msgpack.encode(parts)))
    return OwnTar(own, digest, lambda: SpansOfBlob(resolver, state, digest))


def decoded(data: bytes) -> list[_Part]:
    """The parts of a blob out of a stored object, and where each begins. Raises `FormatError`."""
    try:
        return cast("list[_Part]", msgpack_decoder(list[_Part]).decode(unseal(MAGIC, data, TOC_MAX)))
    except msgspec.MsgspecError as error:
        raise FormatError(f"the parts of a blob that have its table are broken: {error}") from error


def _remembering(read: Read, parts: list[_Part]) -> Read:
    """The same, which reads nothing that is among the ``parts``, and adds to them what it reads."""

    def remembering(start: int, end: int) -> bytes:
        for at, data in parts:
            if at <= start and end <= at + len(data):
                return data[start - at : end - at]
        data = read(start, end)
        parts.append((start, data))
        return data

    return remembering


class OwnTar:
    """The virtual tar of a layer, and the table whose offsets are in it. Thread-safe: it does not change.

    ``open_blob`` opens the blob for one reader.
    """

    def __init__(self, own: OwnTable, digest: Digest, open_blob: Callable[[], SpansOfBlob]) -> None:
        self._own = own
        self._digest = digest
        self._open_blob = open_blob
        columns, at = Columns(), 0
        places: dict[str, tuple[int, int]] = {}
        for entry in own.files:
            placed = replace(entry, offset=at) if entry.type == "file" else entry
            columns.add(placed)
            if entry.type == "file":
                places[entry.path] = at, entry.size
                at += max(entry.size, 1)  # no two files are in one place
                if at > INT64_MAX:
                    raise LimitError(f"the files of a layer have more than {INT64_MAX} bytes")
        self.table = FileTable(columns, at)
        # A path that comes twice has the bytes of the last one only; the earlier one is hidden.
        found = sorted((start, path, size) for path, (start, size) in places.items())
        self._starts = [start for start, _, _ in found]
        self._files = [(path, size) for _, path, size in found]

    def read(self, start: int, end: int) -> Reader:
        """Read bytes ``start`` to ``end`` of the virtual tar. Reading raises `DigestMismatchError`."""
        return _OwnReader(self, self._open_blob(), start, min(end, self.table.tar_size))

    def chunks(self, start: int) -> Iterator[tuple[int, Chunk]]:
        """The chunks from an offset on, and where in the virtual tar each of them begins. Zeros have none."""
        for number in range(max(0, bisect_right(self._starts, start) - 1), len(self._starts)):
            begins, (path, _) = self._starts[number], self._files[number]
            for chunk in self._own.chunks(path, max(0, start - begins)):
                if chunk.sha256:
                    yield begins + chunk.offset, chunk

    def inflate(self, chunks: list[Chunk], blob: SpansOfBlob) -> list[bytes]:
        """The bytes of chunks, by one request for all of them."""
        start, end = chunks[0].start, max(chunk.end for chunk in chunks)
        members: dict[int, list[int]] = {}  # by their start: the numbers of the chunks that are in it
        for number, chunk in enumerate(chunks):
            members.setdefault(chunk.start, []).append(number)

        def work(read: Read) -> list[bytes]:
            data, found = read(start, end), [b""] * len(chunks)
            for at, numbers in members.items():
                inside = [chunks[number] for number in numbers]
                part = BytesReader(data[at - start : inside[0].end - start])
                for number, each in zip(numbers, self._own.inflate(inside, part), strict=True):
                    found[number] = each
            return found

        try:
            return blob.use(work)
        except (WrongSpanError, NoPlaceError) as error:
            raise DigestMismatchError(
                f"a part of {self._digest} is nowhere as its own table says: {error.message}",
                hint="pull the layer (layercache pull): then its files are read out of the whole",
            ) from error


class _OwnReader(JudgingReader):
    """A range of a virtual tar, by requests for chunks that follow each other. What no file has is zeros."""

    def __init__(self, tar: OwnTar, blob: SpansOfBlob, start: int, end: int) -> None:
        super().__init__(BytesReader(), max(0, end - start))
        self._tar = tar
        self._blob = blob
        self._at = start
        self._end = end
        self._chunks = tar.chunks(start)
        self._next = next(self._chunks, None)
        self._group: list[tuple[int, bytes]] = []
        self._limit = FIRST

    def _read(self, size: int) -> bytes:
        size = min(size, self._end - self._at)
        if size <= 0:
            return b""
        if not self._group and self._next is not None and self._next[0] < self._end:
            self._fetch()
        begins, data = self._group[0] if self._group else (self._end, b"")
        if self._at < begins:
            part = bytes(min(size, begins - self._at))
        else:
            part = data[self._at - begins : self._at - begins + size]
        self._at += len(part)
        if self._group and self._at >= begins + len(data):
            self._group.pop(0)
        return part

    def _fetch(self) -> None:
        group: list[tuple[int, Chunk]] = []
        size = 0
        while self._next is not None and self._next[0] < self._end:
            chunk = self._next[1]
            first = group[0][1] if group else chunk
            size += chunk.size
            follows = chunk.start > first.start and chunk.end - first.start <= self._limit
            if group and (size > INFLATED or not (follows or chunk.start == first.start)):
                break
            group.append(self._next)
            self._next = next(self._chunks, None)
        self._limit = min(2 * self._limit, TOGETHER)
        found = self._tar.inflate([chunk for _, chunk in group], self._blob)
        self._group = [(begins, data) for (begins, _), data in zip(group, found, strict=True)]
