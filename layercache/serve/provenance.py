"""Whether an answer came from the cache: the header X-Layercache."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.events import Event

HEADER = "x-layercache"
HIT = (HEADER, "hit")
MISS = (HEADER, "miss")
STALE = (HEADER, "stale")

STALE_WARNING = ("warning", '110 - "Response is Stale"')
"""A second header of stale answers, which HTTP knows (RFC 7234, 5.5.1)."""


class Provenance:
    """Sees in which place a blob is opened in this thread, inside the ``with`` block."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._thread = threading.get_ident()
        self._exits = ExitStack()
        self._hit = False

    @property
    def header(self) -> tuple[str, str]:
        """A hit if a tier has it. What is still on its way from an upstream is not."""
        return HIT if self._hit else MISS

    def __enter__(self) -> Self:
        self._exits.enter_context(self._cache.watch(self._see))
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _see(self, event: Event) -> None:
        if threading.get_ident() == self._thread:
            from_tier = event.place is not None and event.place.kind == "tier"
            self._hit |= event.kind == "hit" or (event.kind == "fetching" and from_tier)
