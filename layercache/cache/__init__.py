"""The public face: a cache of layers on one or more tiers."""

from __future__ import annotations

from layercache.cache.cache import Cache

__all__ = ["Cache"]
