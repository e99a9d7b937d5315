"""Bytes out of the middle of a layer's tar, none of which is given before it was found right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.forms import UNCOMPRESSED

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver


def open_tar(resolver: Resolver, state: LayerState, start: int = 0, end: int | None = None) -> Reader:
    """Read bytes ``start`` to ``end`` (exclusive; None: to its end) of a tar. Raises as `Resolver.open`."""
    return resolver.open(state, UNCOMPRESSED, start, end)
