"""A layer's table of contents: found in a trusted tier, or made in one pass over the layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError, InvalidNameError
from layercache.files import seek_points
from layercache.files.seek_points import is_about
from layercache.files.table_thread import TableThread
from layercache.index.table import FileTable
from layercache.oci.digest import DiffID
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.streams.readers import check_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver
    from layercache.transfer.layer_lock import LayerLock

KIND = "files-1"

TRIES = 3
"""How often a tar is read for its table where an entry turns out to be wrong and is put out of the way."""


def table_of(resolver: Resolver, state: LayerState) -> FileTable:
    """Every entry of a layer's tar, in its order.

    It is read from a trusted tier, or made in one pass over the tar and kept. Many askers make it once.
    Raises `NotFoundError` where nobody has the layer, `NotALayerError`, `FormatError` for a tar that is
    broken, `LimitError`, `BackendError`, `SourceError`, `DigestMismatchError`.
    """
    table = kept_table(resolver, state)
    if table is not None:
        return table
    identity = state.identity
    name = identity.digest or identity.diff_id
    if name is None:
        raise ValueError("a layer without a name")
    with resolver.derived.making(KIND, name) as lead:
        table = kept_table(resolver, state, again=True)
        return _made(resolver, state, lead) if table is None else table


def kept_table(resolver: Resolver, state: LayerState, *, again: bool = False) -> FileTable | None:
    """The table, if a trusted tier has it. ``again``: see `Derived.find`."""
    return resolver.derived.find(KIND, state.identity, partial(_decoded, state.identity), again=again)


def _decoded(identity: LayerIdentity, data: bytes) -> FileTable | None:
    diff_id, table = decoded(data)
    return table if is_about(identity, diff_id) else None


def decoded(data: bytes) -> tuple[DiffID, FileTable]:
    """The tar that a stored table is of, which it begins with, and the table. Raises `FormatError`."""
    name, _, table = data.partition(b"\n")
    try:
        return DiffID(name.decode("ascii", "replace")), FileTable.decode(table)
    except InvalidNameError as error:
        raise FormatError("a table of files does not say which tar it is of") from error


def _made(resolver: Resolver, state: LayerState, lead: LayerLock | None) -> FileTable:
    table = _read(resolver, state, lead, TRIES)
    diff_id = state.identity.diff_id
    assert diff_id is not None, "the pass has found the diff ID"
    resolver.derived.keep(KIND, state.identity, diff_id.encode() + b"\n" + table.encode())
    return table


def _read(resolver: Resolver, state: LayerState, lead: LayerLock | None, tries: int) -> FileTable:
    """Make the table in one pass; in another one if an entry was found rotten, and was put aside."""
    try:
        table = _from_blob(resolver, state, lead)
        return _from_tar(resolver, state, lead) if table is None else table
    except DigestMismatchError:
        wrong = [resolver.doubt(state, form) for form in (UNCOMPRESSED, COMPRESSED)]
        if tries == 1 or not any(wrong):
            raise
    return _read(resolver, state, lead, tries - 1)


def _from_blob(resolver: Resolver, state: LayerState, lead: LayerLock | None) -> FileTable | None:
    """Make the table in the pass that finds seek points, if there is the blob and nobody keeps tars."""
    if resolver.keeper.store(UNCOMPRESSED) or tar_at_hand(resolver, state):
        return None
    path = seek_points.can_be_made(resolver, state)
    if path is None:
        return None
    with TableThread() as builder:
        try:
            index = seek_points.make(resolver, state, path, _beating(builder.data, lead))
        except FormatError:  # the ordinary pass finds out what is wrong
            return None
        return builder.finish() if index else None


def _from_tar(resolver: Resolver, state: LayerState, lead: LayerLock | None) -> FileTable:
    """Make the table in one pass over the tar. What a trusted tier has is hashed: others use the table."""
    diff_id = state.identity.diff_id
    whole = diff_id.hasher() if diff_id and tar_at_hand(resolver, state) else None
    with TableThread() as builder:
        with resolver.open(state, UNCOMPRESSED) as reader:
            for piece in builder.read(reader):
                if lead is not None:
                    lead.beat()
                if whole is not None:
                    whole.update(piece)
        if whole is not None and diff_id is not None:
            check_hash(diff_id, None, DiffID.from_hasher(whole), 0)
        table = builder.finish()
    seek_points.make_soon(resolver, state)
    return table


def _beating(feed: Callable[[bytes], object], lead: LayerLock | None) -> Callable[[bytes], object]:
    """The same, and others who wait for the table learn that it gets on."""
    if lead is None:
        return feed

    def fed(piece: bytes) -> None:
        feed(piece)
        lead.beat()

    return fed


def tar_at_hand(resolver: Resolver, state: LayerState) -> bool:
    """Whether a trusted tier has the tar, so that parts of it are read there."""
    names = state.identity.names(UNCOMPRESSED)
    tiers = [tier for tier in resolver.near.all if tier.policy.trusted and tier.policy.keep != COMPRESSED]
    return any(tier.blobs.has(name) for tier in tiers for name in names)
