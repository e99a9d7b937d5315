"""Readers that stop early, and what is reported then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixtures.stores import Fetch, near

from layercache.cache import Cache
from layercache.transfer.share import Share

if TYPE_CHECKING:
    from fixtures.layers import Layer

    from layercache.events import Event
    from layercache.tiers.tier import Tier


class Seen(list["Event"]):
    def of(self, kind: str) -> list[Event]:
        return [event for event in self if event.kind == kind]


def begin(cache: Cache, layer: Layer, fetch: Fetch, form: str, count: int) -> None:
    """Read so many bytes of it, and leave."""
    asked = cache.layer(layer.digest, size=len(layer.blob), fetch=fetch)
    with asked.compressed() if form == "compressed" else asked.uncompressed() as stream:
        assert stream.read(count)


def cache_of(*tiers: Tier, finish: str = "25%,64MiB") -> Cache:
    return Cache(tiers or (near(),), finish=Share.parse(finish))
