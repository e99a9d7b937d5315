"""A layer's seek index: found in a trusted tier, or made out of the blob on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from layercache.backend.installation import install_hint
from layercache.errors import FormatError, LayercacheError
from layercache.index import gzip_points, zstd_frames
from layercache.index.spans import Blocks, Point, SeekIndex, is_readable
from layercache.oci.descriptor import GZIP, NO_COMPRESSION, ZSTD, layer_type
from layercache.oci.digest import DiffID, Digest
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.identity import Outcome
from layercache.streams.readers import HEAD, check_hash, layer_compression
from layercache.transfer.growing import GivenUpError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver
    from layercache.streams.limits import Limits

KIND = "seek-1"

PIECE = 1 << 20

WORTH_FROM = 4 << 20
"""Bytes of a blob from which parts of it are read: a smaller one is fetched and inflated as a whole."""


def find(resolver: Resolver, state: LayerState, *, again: bool = False) -> SeekIndex | None:
    """The seek index that a trusted tier has of one of the layer's blobs. ``again``: see `Derived.find`."""
    identity = state.identity
    if identity.size is not None and identity.size < WORTH_FROM:
        return None
    return resolver.derived.find(KIND, identity, partial(_decoded, identity), again=again)


def _decoded(identity: LayerIdentity, data: bytes) -> SeekIndex | None:
    index = SeekIndex.decode(data)
    about = index.digest in identity.digests() and is_about(identity, index.diff_id)
    return index if about and identity.uncompressed_size in (None, index.tar_size) else None


def is_about(identity: LayerIdentity, diff_id: DiffID) -> bool:
    """Whether what was made of a tar of this name is about this layer, as far as its names are known."""
    return identity.unconfirmed or identity.diff_id in (None, diff_id)


def make(
    resolver: Resolver,
    state: LayerState,
    path: str,
    also: Callable[[bytes], object] = lambda _: None,
) -> SeekIndex | None:
    """Make the index out of the blob in a file, in one pass over it, and keep it. ``also`` is given the tar.

    None where the blob holds another tar than the layer's, and for a gzip whose diff ID nobody has stated:
    where one is cut off, rapidgzip ends without an error, so only that shows that it has found all of the
    tar. Where no points are found, of odd blobs, the index says that. Raises as `of_file` does.
    """
    identity = state.identity
    digest, diff_id, size = identity.digest, identity.diff_id, identity.uncompressed_size
    assert digest is not None, "a blob has a name"
    if diff_id is None and _compression_of(path, digest) == GZIP:
        return None
    try:
        index = of_file(path, digest, also, resolver.passes.limits)
    except FormatError:
        if diff_id is None or size is None or not identity.computed:
            raise
        index = SeekIndex.without_points(digest, diff_id, GZIP, Point(identity.size or 0, size))
    if not is_about(identity, index.diff_id) or (index.compression == GZIP and index.diff_id != diff_id):
        return None
    media_type = layer_type(identity.media_type, index.compression)
    found = Outcome(digest, index.size, index.diff_id, index.tar_size, media_type)
    resolver.passes.findings.learn(state, found)
    if (fact := found.fact) and not identity.computed:
        resolver.keeper.record(fact)
    resolver.derived.keep(KIND, state.identity, index.encode())
    return index


class _Making:
    """An index that is made in the background: as `layercache.transfer.finisher.Unread`."""

    # `cancel` is called by another thread than `finish`: it sets a flag, which only ever becomes true.

    def __init__(self, resolver: Resolver, state: LayerState) -> None:
        self._resolver = resolver
        self._state = state
        self._is_cancelled = False

    def finish(self) -> None:
        # It only saves work; a reader of the layer finds out what is wrong.
        with suppress(LayercacheError, OSError):
            get(self._resolver, self._state, self._go_on)

    def _go_on(self, _piece: bytes) -> None:
        if self._is_cancelled:
            raise GivenUpError

    def drop(self) -> None:
        self._is_cancelled = True

    def cancel(self) -> None:
        self._is_cancelled = True


def make_soon(resolver: Resolver, state: LayerState) -> None:
    """Make the index in the background, if parts of the blob will be read: here, or where others have it."""
    shared = any(tier.remote for tier in resolver.keeper.writable())
    kept = resolver.keeper.store(UNCOMPRESSED) is not None
    if (shared or not kept) and can_be_made(resolver, state):
        resolver.passes.finisher.queue().add(_Making(resolver, state))


def get(
    resolver: Resolver, state: LayerState, also: Callable[[bytes], object] = lambda _: None
) -> SeekIndex | None:
    """The index, found or made here; None where neither can be. Raises as `make` does."""
    index = find(resolver, state)
    digest = state.identity.digest
    if index is not None or digest is None or can_be_made(resolver, state) is None:
        return index
    with resolver.derived.making(KIND, digest) as lead:
        index = find(resolver, state, again=True)
        path = can_be_made(resolver, state)
        if index is not None or path is None:
            return index

        def follow(piece: bytes) -> None:
            also(piece)
            if lead:
                lead.beat()

        return make(resolver, state, path, follow)


def can_be_made(resolver: Resolver, state: LayerState) -> str | None:
    """The file out of which the index can be made here, if there is one and that is worth it."""
    identity = state.identity
    if identity.digest is None or (identity.size or 0) < WORTH_FROM:
        return None
    path = resolver.path(state, COMPRESSED)
    if path is None:
        return None
    if _compression_of(path, identity.digest) != GZIP or gzip_points.is_available():
        return path
    note = f"gzip layers are read as a whole; {install_hint('files')} lets parts of them be read"
    resolver.derived.hint(identity.digest, note)
    return None


def _compression_of(path: str, digest: Digest) -> str:
    with open(path, "rb") as file:
        return layer_compression(file.read(HEAD), digest)


def of_file(path: str, digest: Digest, also: Callable[[bytes], object], limits: Limits) -> SeekIndex:
    """The index of the blob in a file. ``also`` is given the tar.

    Raises `DigestMismatchError` where the file does not have this digest, `FormatError`, `NotALayerError`,
    `LimitError` for a decompression bomb.
    """
    compression, compressed = _compression_of(path, digest), os.stat(path).st_size
    blocks, whole, inflated = Blocks(), digest.hasher(), 0

    def sink(piece: bytes) -> None:
        nonlocal inflated
        inflated += len(piece)
        limits.check(inflated, compressed, digest)
        blocks.data(piece)
        whole.update(piece)
        also(piece)

    points = _FIND[compression](path, sink)
    diff_id = DiffID.from_hasher(whole)
    hashes = _span_hashes(path, digest, points)
    if not hashes:
        return SeekIndex.without_points(digest, diff_id, compression, points[-1])
    return SeekIndex.of(digest, diff_id, compression, points, hashes, blocks.end())


def _span_hashes(path: str, digest: Digest, points: Sequence[Point]) -> list[bytes]:
    """The sha256 of each span, in one pass that hashes the whole as well; none where a span is too long."""
    whole, hashes, seen = digest.hasher(), list[bytes](), 0
    spans = list(pairwise(points))
    readable = all(is_readable(this.at, after.at, this.tar_at, after.tar_at) for this, after in spans)
    with open(path, "rb") as file:
        whole.update(file.read(points[0].at))
        seen = file.tell()
        for this, after in spans if readable else ():
            start = this.at - bool(this.bits)  # perhaps one byte again
            data = os.pread(file.fileno(), after.at - start, start)
            hashes.append(sha256(data).digest())
            whole.update(memoryview(data)[seen - start :])
            seen = start + len(data)
        while data := os.pread(file.fileno(), PIECE, seen):
            whole.update(data)
            seen += len(data)
    check_hash(digest, points[-1].at, Digest.from_hasher(whole), seen)
    return hashes


def _plain_points(path: str, sink: Callable[[bytes], object]) -> list[Point]:
    """A tar as it is can be read from anywhere: its points are where its hashes begin."""
    at, points = 0, []
    with open(path, "rb") as file:
        while piece := file.read(zstd_frames.SPAN):
            points.append(Point(at, at))
            sink(piece)
            at += len(piece)
    return [*points, Point(at, at)]


_FIND = {GZIP: gzip_points.find_points, ZSTD: zstd_frames.find_points, NO_COMPRESSION: _plain_points}
