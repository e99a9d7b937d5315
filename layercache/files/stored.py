"""The kinds of indexes that tiers keep, as one thing: which there are, and whether one is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import FormatError
from layercache.files import seek_points, tables
from layercache.index.spans import SeekIndex

if TYPE_CHECKING:
    from layercache.oci.digest import Hash


def check(kind: str, name: Hash, data: bytes) -> None:
    """Raise `FormatError` for an index that is damaged, or about another blob; not for unknown kinds."""
    if kind == seek_points.KIND:
        about = SeekIndex.decode(data).digest
        if about != name:
            raise FormatError(f"it is the seek index of {about}")
    elif kind == tables.KIND:
        tables.decoded(data)
