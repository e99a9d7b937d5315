"""Buckets that keep a zstd in place of a plain tar, and such tars."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fixtures.layers import Layer, make_layer, put
from fixtures.stores import Fetch, Store, blobs, near, open_cache, store_of

from layercache.oci.digest import Digest
from layercache.streams.compress import Compression
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend
    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.layer import Layer as CachedLayer

ZSTD = Compression.of("zstd")


def bucket(backend: Backend | None = None, recompress: Compression | None = ZSTD) -> BackendTier:
    """A far tier; what is asked of it is written down."""
    store = Store(backend or MemoryBackend())
    return BackendTier(store, Policy(keep="compressed", recompress=recompress))


def plain(seed: int = 0) -> Layer:
    """A layer that is distributed as a plain tar, most of which compresses."""
    return make_layer({"text": b"a line of text\n" * 9000, "seed": b"%d" % seed}, "none")


def of_image(cache: Cache, layer: Layer, fetch: Fetch | None = None) -> CachedLayer:
    """The layer as an image describes it."""
    return cache.layer(
        layer.digest, diff_id=layer.diff_id, size=len(layer.blob), media_type=layer.media_type, fetch=fetch
    )


def filled(layer: Layer) -> BackendTier:
    """A bucket into which another machine has put the layer."""
    tier = bucket()
    with open_cache(near(), tier) as cache:
        put(cache, layer.blob)
    store_of(tier).asked.clear()
    return tier


def zstd_in(tier: BackendTier) -> Digest:
    (name,) = blobs(tier)
    return Digest(name)


@contextmanager
def watched(*tiers: BackendTier) -> Iterator[tuple[Cache, list[Event]]]:
    events: list[Event] = []
    with open_cache(*tiers) as cache, cache.watch(events.append):
        yield cache, events
