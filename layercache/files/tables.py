"""A layer's table of contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.index.table import FileTable, TableBuilder
from layercache.oci.forms import UNCOMPRESSED

if TYPE_CHECKING:
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver

CHUNK = 1 << 20


def table_of(resolver: Resolver, state: LayerState) -> FileTable:
    """Every entry of a layer's tar, in its order. Raises as `Resolver.open`."""
    builder = TableBuilder()
    with resolver.open(state, UNCOMPRESSED) as tar:
        while chunk := tar.read(CHUNK):
            builder.data(chunk)
    return builder.finish()
