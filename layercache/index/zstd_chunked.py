"""zstd:chunked: a zstd layer with a table of its files in a frame that other readers skip.

There are two dialects. Of containers/storage, whose annotations begin with ``io.github.containers.``; and of
stargz-snapshotter, with ``io.containers.`` and the annotation of eStargz as well. Old versions of
containers/storage, as in podman 4.3, have those of the second one, without that of eStargz. The annotations
state where the table is, and the digest of it as it is stored. The footer of the blob says where it is as
well; it is not read, as containers/storage does not read it, since that takes a request.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from layercache.errors import FormatError, LimitError
from layercache.index.estargz import TOC_DIGEST, check_toc
from layercache.index.toc import TOC_MAX, decode_toc
from layercache.oci.descriptor import ZSTD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.index.chunks import OwnTable, Read

CONTAINERS = "io.github.containers.zstd-chunked."
STARGZ = "io.containers.zstd-chunked."

CHECKSUM = "manifest-checksum"
POSITION = "manifest-position"

_FRAME_HEADER = 8
"""Bytes of a skippable frame before what it holds (RFC 8878, 3.1.2)."""

_position = re.compile(r"(\d{1,19}):(\d{1,19}):(\d{1,19}):1", re.ASCII).fullmatch


def read_table(read: Read, size: int, annotations: Mapping[str, str], dialect: str) -> OwnTable:
    """Fetch a layer's own table, in one read. ``size``: of the blob; ``dialect``: `CONTAINERS` or `STARGZ`.

    Raises `FormatError` if an annotation is missing or wrong or the table is broken, `DigestMismatchError` if
    it is not the one of the annotations, `LimitError` if it is too large, and what ``read`` raises.
    """
    stated = annotations.get(dialect + POSITION, "")
    position = _position(stated)
    if not position:
        raise FormatError(f"the annotation {dialect}{POSITION} does not state a position: {stated[:80]!r}")
    start, stored, inflated = (int(each) for each in position.groups())
    if start <= _FRAME_HEADER or start + stored > size:
        raise FormatError(f"a layer's own table of contents is not in its {size} bytes: {stated}")
    if max(stored, inflated) > TOC_MAX:
        raise LimitError(f"a layer's own table of contents is too large: {stated} (allowed are {TOC_MAX})")
    packed = read(start, start + stored)
    check_toc(packed, annotations[dialect + CHECKSUM])
    toc = _inflated(packed, inflated)
    if dialect == STARGZ and TOC_DIGEST in annotations:
        check_toc(toc, annotations[TOC_DIGEST])
    return decode_toc(toc, start - _FRAME_HEADER, ZSTD)


def _inflated(packed: bytes, size: int) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    inflating = zstd.ZstdDecompressor()
    try:
        toc = inflating.decompress(packed, size + 1)
    except zstd.ZstdError as error:
        raise FormatError(f"a layer's own table of contents does not inflate: {error}") from error
    if len(toc) != size or not inflating.eof or inflating.unused_data:
        raise FormatError(f"a layer's own table of contents does not inflate to {size} bytes")
    return toc
