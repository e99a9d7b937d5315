"""Indexes of all that a tier with ``keep=indexed`` gets, made behind the pulls."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.oci.digest import Digest
from layercache.oci.forms import COMPRESSED
from layercache.resolver.layer_state import LayerState

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from layercache.events import Event, Observers
    from layercache.resolver.resolver import Resolver


def begin_indexing(resolver: Resolver, observers: Observers) -> AbstractContextManager[None]:
    """From now on, make the indexes of each layer that a tier with ``keep=indexed`` gets.

    Keep what is returned for as long: it is an entered `Cache.watch`.
    """
    watching = observers.watch(_Backlog(resolver).see)
    watching.__enter__()
    return watching


class _Backlog:
    """The layers that are to be indexed, one after the other: as `layercache.transfer.finisher.Unread`.

    Closing the cache waits for it; an interrupt gives it up, and then an index is made when it is needed.
    ``_lock`` guards the layers and whether a thread is at work on them; it is held for a moment only.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._tiers = {tier.name for tier in resolver.near.all if tier.policy.indexed}
        self._layers: deque[tuple[Digest, int]] = deque()
        self._is_working = False
        self._is_cancelled = False
        self._lock = threading.Lock()

    def see(self, event: Event) -> None:
        """Take a layer that was stored. Called in the thread that has stored it, which does not wait."""
        if event.kind != "stored" or event.form != COMPRESSED or event.where not in self._tiers:
            return
        assert event.name is not None, "what is stored has a name"
        with self._lock:
            self._layers.append((Digest(event.name), event.size))
            begin, self._is_working = not self._is_working, True
        if begin and not self._resolver.passes.finisher.queue().add(self):
            self.drop()

    def finish(self) -> None:
        while (stored := self._next()) is not None:
            with suppress(LayercacheError, OSError):  # it is a manifest, say
                self._index(*stored)

    def _next(self) -> tuple[Digest, int] | None:
        with self._lock:
            if not self._layers or self._is_cancelled:
                self._is_working = False
                return None
            return self._layers.popleft()

    def _index(self, digest: Digest, size: int) -> None:
        from layercache.files.seek_points import get
        from layercache.files.tables import table_of

        identity, responses = self._resolver.of_digest(digest, stated=True)
        state = LayerState(identity.counted(COMPRESSED, size), responses=responses)
        table_of(self._resolver, state)
        get(self._resolver, state)

    def drop(self) -> None:
        with self._lock:
            self._is_working = False

    def cancel(self) -> None:
        self._is_cancelled = True
