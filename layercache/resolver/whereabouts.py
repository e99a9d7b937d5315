"""Where a form can be read, without reading it: its size, and a URL of its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.forms import COMPRESSED
from layercache.resolver.absence import no_way
from layercache.resolver.plan import Way
from layercache.sources.origin import Statable

if TYPE_CHECKING:
    from layercache.oci.forms import Form
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver


def size_of_blob(resolver: Resolver, layer: LayerState) -> int:
    """Bytes of the blob, of the first place of the plan that has it. Raises as `Resolver.open` does."""
    for way in resolver.ways(layer, COMPRESSED):
        source: object = way.source
        if way.tier is not None:
            size = resolver.near.entries.size(layer, way)
        else:
            size = source.stat() if isinstance(source, Statable) else layer.identity.size
        if size is not None:
            return size
    raise no_way(resolver.near.all, layer, COMPRESSED)


def signed_url(resolver: Resolver, layer: LayerState, form: Form, seconds: int) -> str | None:
    """A URL of the first tier that can sign one and has the form in the right size; None if none does."""
    size = layer.identity.size_of(form)
    resolver.check_open()
    for tier in resolver.near.all if size is not None else ():
        for name in layer.identity.names(form):
            way = Way(name, form, tier)
            if resolver.near.entries.is_wrong(way):
                continue
            if url := tier.blobs.signed_url(name, size or 0, seconds):
                resolver.near.entries.count_hit(layer, way, size or 0)
                return url
    return None
