"""Layers that the tests put, fetch and break, and short ways to read them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from servers.images import Layer, compressed, make_layer, noise

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.layer import Layer as CachedLayer

COMPRESSIONS = ("gzip", "zstd", "none")


def sample(seed: int = 0, compression: str = "gzip", size: int = 3000) -> Layer:
    """A layer of noise that the seed tells from others; same seed and size, same tar."""
    return make_layer({"noise": noise(size, seed)}, compression)


def large(seed: int = 0, compression: str = "gzip") -> Layer:
    """A layer of several of the core's chunks, so that a reader sees bytes long before the end."""
    return sample(seed, compression, 100_000)


def put(cache: Cache, data: bytes) -> CachedLayer:
    return cache.put(io.BytesIO(data))


def read(stream: BinaryIO) -> bytes:
    with stream:
        return stream.read()


def again(layer: Layer, level: int) -> bytes:
    """Another gzip of the same tar."""
    import gzip

    return gzip.compress(layer.tar, level, mtime=0)


def flipped(data: bytes, at: int = -100) -> bytes:
    """The same with one bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


__all__ = [
    "COMPRESSIONS",
    "Layer",
    "again",
    "compressed",
    "flipped",
    "large",
    "make_layer",
    "noise",
    "put",
    "read",
    "sample",
]
