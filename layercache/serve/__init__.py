"""The team's mirror: a registry of the OCI distribution-spec over a cache. Its only state is the tiers."""

from __future__ import annotations

from layercache.serve.serving import serve

__all__ = ["serve"]
