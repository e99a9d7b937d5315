"""The kinds of indexes that tiers keep, as one thing: which there are, and whether one is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import FormatError
from layercache.files import own_tar, seek_points, tables
from layercache.index.spans import SeekIndex

if TYPE_CHECKING:
    from layercache.oci.digest import Hash


KINDS = (tables.KIND, seek_points.KIND, own_tar.KIND)
"""What this version knows. Others may be there, of another one."""


def check(kind: str, name: Hash, data: bytes) -> None:
    """Raise `FormatError` for an index, of one of the `KINDS`, that is damaged or about another blob."""
    if kind == tables.KIND:
        tables.decoded(data)
    elif kind == own_tar.KIND:
        own_tar.decoded(data)
    elif (about := SeekIndex.decode(data).digest) != name:
        raise FormatError(f"it is the seek index of {about}")
