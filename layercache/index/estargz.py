"""eStargz: a gzip layer whose last file is a table of all others (stargz-snapshotter, docs/estargz.md).

A footer says where it begins. The annotation ``containerd.io/snapshot/stargz/toc.digest`` of the layer's
descriptor has the table's digest.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError, LimitError
from layercache.index.scanner import TarScanner
from layercache.index.toc import TOC_MAX, decode_toc
from layercache.oci.descriptor import GZIP

if TYPE_CHECKING:
    from layercache.index.chunks import OwnTable, Read
    from layercache.index.entry import FileEntry

TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"

TOC_NAME = "stargz.index.json"

TAIL = 64 << 10
"""Bytes at the blob's end that are read first: a small layer's table is in them, and needs no second read."""

# An empty gzip member whose extra field has the table's offset: as a subfield "SG", and as stargz had it.
_FOOTER = re.compile(
    rb"\x1f\x8b\x08\x04.{6}(?:\x1a\0SG\x16\0|\x16\0)([0-9a-f]{16})STARGZ\x01\0\0\xff\xff" + bytes(8) + rb"\Z",
    re.DOTALL,
)


def read_table(read: Read, size: int, digest: str) -> OwnTable:
    """Fetch a layer's own table, in one or two reads. ``size``: of the blob; ``digest``: the annotation.

    Raises `FormatError` if the blob is not in this format or the table is broken, `DigestMismatchError` if it
    is not the one of the annotation, `LimitError` if it is too large, and what ``read`` raises.
    """
    tail_start = max(0, size - TAIL)
    tail = read(tail_start, size)
    footer = _FOOTER.search(tail[-51:])
    if not footer:
        raise FormatError("a layer has no footer of eStargz, in spite of its annotation")
    start, end = int(footer[1], 16), size - len(footer[0])
    if not 0 < start < end:
        raise FormatError(f"a layer's own table of contents begins at byte {start} of {size}")
    if end - start > TOC_MAX:
        raise LimitError(f"a layer's own table of contents has {end - start} bytes (allowed are {TOC_MAX})")
    packed = tail[start - tail_start : end - tail_start] if start >= tail_start else read(start, end)
    toc = _toc_in(packed)
    check_toc(toc, digest)
    return decode_toc(toc, start, GZIP)


def check_toc(toc: bytes, digest: str) -> None:
    """Raise `DigestMismatchError` unless the table has the digest of the annotation."""
    found = f"sha256:{hashlib.sha256(toc).hexdigest()}"
    if found != digest:
        raise DigestMismatchError(
            f"a layer's own table of contents is {found} (its annotation states {digest[:80]})"
        )


def _toc_in(packed: bytes) -> bytes:
    """The JSON document: the one file of a tar, in a gzip member."""
    inflating = zlib.decompressobj(wbits=31)
    try:
        tar = inflating.decompress(packed, TOC_MAX)
    except zlib.error as error:
        raise FormatError(f"a layer's own table of contents does not inflate: {error}") from error
    if not inflating.eof:
        raise LimitError(f"a layer's own table of contents is cut off, or has more than {TOC_MAX} bytes")
    found: list[FileEntry] = []
    scanner = TarScanner(found.append, "a layer's own table of contents")
    scanner.feed(tar)
    scanner.close()
    if [each.path for each in found] != [TOC_NAME]:
        raise FormatError(f"a layer's own table of contents is not one file of the name {TOC_NAME}")
    return tar[found[0].offset : found[0].offset + found[0].size]
