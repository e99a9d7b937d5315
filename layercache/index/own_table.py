"""Finds a layer's own table of contents by the annotations of its descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.index.chunks import OwnTable, Read


def read_own_table(read: Read, size: int, annotations: Mapping[str, str]) -> OwnTable | None:
    """The table that a layer's annotations lead to; None if they name none, which takes no request.

    ``read``: reads a range of the blob, unverified. ``size``: bytes of the blob. ``annotations``: of the
    layer's descriptor in a verified manifest.

    Raises `FormatError` for a table that is broken, or if the annotations are of two formats;
    `DigestMismatchError` for one that is not that of the annotations, `LimitError` for one that is too large,
    and what ``read`` raises.
    """
    from layercache.index import estargz, zstd_chunked

    containers = zstd_chunked.CONTAINERS + zstd_chunked.CHECKSUM in annotations
    stargz = zstd_chunked.STARGZ + zstd_chunked.CHECKSUM in annotations
    if containers and (stargz or estargz.TOC_DIGEST in annotations):
        # Which of them a runtime reads depends on the runtime, and they may differ.
        raise FormatError("a layer has annotations of two formats for its own table of contents")
    if containers:
        return zstd_chunked.read_table(read, size, annotations, zstd_chunked.CONTAINERS)
    if stargz:
        return zstd_chunked.read_table(read, size, annotations, zstd_chunked.STARGZ)
    if estargz.TOC_DIGEST in annotations:
        return estargz.read_table(read, size, annotations[estargz.TOC_DIGEST])
    return None
