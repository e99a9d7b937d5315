"""Bytes out of the middle of a layer's tar, none of which is given before it was found right."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from layercache.backend import check_range
from layercache.errors import DigestMismatchError, FormatError
from layercache.files import seek_points
from layercache.files.span_reader import SpanReader
from layercache.files.spans_ahead import SpansAhead
from layercache.files.spans_of_blob import NoPlaceError, SpansOfBlob, WrongSpanError
from layercache.files.tables import tar_at_hand
from layercache.files.verified_part import VerifiedPart
from layercache.index.spans import BLOCK
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.streams.readers import JudgingReader, read_full

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.index.spans import SeekIndex
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver

WORTH_FROM = 4
"""Spans of a blob from which on several threads inflate it."""


def open_tar(resolver: Resolver, state: LayerState, start: int = 0, end: int | None = None) -> Reader:
    """Read bytes ``start`` to ``end`` (exclusive; None: to its end) of a layer's tar.

    From the tar, if a trusted tier has it; else out of the parts of the blob that hold them, if there is a
    seek index of it; else out of a pass over the whole. Raises as `Resolver.open` does, also when it is
    read.
    """
    if tar_at_hand(resolver, state):
        return resolver.open(state, UNCOMPRESSED, start, end)
    if resolver.is_on_its_way(state, UNCOMPRESSED):
        return _out_of_a_pass(resolver, state, start, end)
    check_range(start, end)
    index = _index(resolver, state)
    if index is None or not index.has_points:
        return _out_of_a_pass(resolver, state, start, end)
    return _indexed(resolver, state, index, (start, end), SpanReader)


def _indexed(
    resolver: Resolver,
    state: LayerState,
    index: SeekIndex,
    part: tuple[int, int | None],
    read: type[SpanReader],
) -> Reader:
    if state.responses is not None:
        state.give_up_responses()
    whole = partial(_out_of_a_pass, resolver, state)

    def refuse(why: FormatError) -> None:
        resolver.derived.drop(seek_points.KIND, state.identity, why)

    spans = partial(read, index, SpansOfBlob(resolver, state, index.digest))
    return _IndexedTar(index, spans, part, whole, refuse)


def open_whole(
    resolver: Resolver, state: LayerState, start: int = 0, end: int | None = None
) -> Reader | None:
    """Read all of a tar, or much of it, with several threads; None where an ordinary pass is as good.

    It is for a tar that no tier keeps, out of a blob that a trusted tier on this machine has, with a seek
    index of several spans. Reading raises as `Resolver.open`.
    """
    resolver.check_open()
    if resolver.keeper.store(UNCOMPRESSED) or not _is_near(resolver, state) or tar_at_hand(resolver, state):
        return None
    index, identity = seek_points.find(resolver, state), state.identity
    if index is None or len(index) < WORTH_FROM or resolver.is_on_its_way(state, UNCOMPRESSED):
        return None
    if not identity.computed or identity.diff_id != index.diff_id:
        return None  # a claim is judged by a pass over the whole
    return _indexed(resolver, state, index, (start, end), SpansAhead)


def _is_near(resolver: Resolver, state: LayerState) -> bool:
    """Whether a trusted tier on this machine has the blob."""
    names = state.identity.names(COMPRESSED)
    tiers = [tier for tier in resolver.near.all if tier.policy.trusted and not tier.remote]
    return any(tier.blobs.has(name) for tier in tiers for name in names)


def _out_of_a_pass(resolver: Resolver, state: LayerState, start: int, end: int | None) -> Reader:
    return VerifiedPart(resolver.open(state, UNCOMPRESSED, start, end))


def _index(resolver: Resolver, state: LayerState) -> SeekIndex | None:
    try:
        return seek_points.get(resolver, state)
    except (FormatError, DigestMismatchError):
        return None  # a pass over the whole finds out what is wrong


class _IndexedTar(JudgingReader):
    """A range of the tar out of spans of the blob, which ``spans`` opens.

    What comes out is compared with the hash of each `BLOCK` before any of it is given. Where no place has
    right spans, or the index turns out to be wrong, ``whole`` opens the range out of a pass over all of the
    layer; what was given before has to be the same there. ``refuse`` is called with what is wrong with the
    index.
    """

    def __init__(
        self,
        index: SeekIndex,
        spans: Callable[[int, int], SpanReader],
        part: tuple[int, int | None],
        whole: Callable[[int, int], Reader],
        refuse: Callable[[FormatError], object],
    ) -> None:
        self._index = index
        self._end = index.tar_size if part[1] is None else min(part[1], index.tar_size)
        self._at = self._start = min(part[0], self._end)
        self._whole = whole
        self._refuse = refuse
        self._is_whole = False
        self._block = memoryview(b"")  # what is left of the block that was read last
        super().__init__(spans(*self._blocks()), self._end - self._at)

    def _blocks(self) -> tuple[int, int]:
        """Where the first block of the range begins, and the last one ends."""
        start = self._start // BLOCK * BLOCK
        return start, max(start, min(-(-self._end // BLOCK) * BLOCK, self._index.tar_size))

    def _read(self, size: int) -> bytes:
        size = min(size, self._end - self._at)
        if size and not self._block:
            try:
                self._next_block(self._at // BLOCK)
            except (WrongSpanError, NoPlaceError, FormatError) as error:
                if self._is_whole:
                    raise
                if not isinstance(error, NoPlaceError):
                    self._refuse(FormatError(error.message))
                self._read_whole()
        data, self._block = bytes(self._block[:size]), self._block[size:]
        self._at += len(data)
        return data

    def _next_block(self, number: int) -> None:
        wanted = min(BLOCK, self._index.tar_size - number * BLOCK)
        block = memoryview(read_full(self._raw, wanted))
        was_given = number * BLOCK < self._at and self._start < self._at
        if (not self._is_whole or was_given) and sha256(block).digest() != self._index.block_hash(number):
            raise FormatError(
                f"the tar at byte {number * BLOCK} is not what the index of {self._index.digest} says"
            )
        self._block = block[max(0, self._at - number * BLOCK) : self._end - number * BLOCK]

    def _read_whole(self) -> None:
        """Go on in a pass over the whole: from the first block on, as far as bytes were given."""
        self._raw.close()
        self._raw = self._whole(*self._blocks())
        self._is_whole = True
        for number in range(self._start // BLOCK, self._at // BLOCK + 1):
            self._next_block(number)
