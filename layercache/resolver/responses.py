"""Blobs that a look-up has opened in remote tiers: whoever reads the layer first goes on with them."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier

HELD = 16
"""Look-ups whose responses stay open, the latest ones. Each holds a connection, or a small blob."""

HELD_FOR = 10.0
"""Seconds after which a response is not used any more: servers close connections from which nobody reads."""


class Responses:
    """Responses of one look-up. They belong to the process that asked: a forked child leaves them alone.

    Thread-safe: several threads may read one layer. ``_lock`` guards ``_readers``, so that each response is
    taken once. Nothing is closed under it.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._until = time.monotonic() + HELD_FOR
        self._lock = threading.Lock()
        self._readers: dict[tuple[Tier, Hash], Reader] = {}

    def hold(self, tier: Tier, name: Hash, reader: Reader) -> None:
        with self._lock:
            self._readers[tier, name] = reader

    def take(self, tier: Tier, name: Hash) -> Reader | None:
        """The response with this blob. The caller closes it."""
        if self._owner != os.getpid():  # first: the parent's lock may be held for ever in a child
            return None
        with self._lock:
            reader = self._readers.pop((tier, name), None)
        if reader is not None and time.monotonic() > self._until:
            reader.close()
            return None
        return reader

    def close(self) -> None:
        """Give up what nobody has taken, without reading it."""
        if self._owner != os.getpid():
            return
        with self._lock:
            readers = list(self._readers.values())
            self._readers.clear()
        for reader in readers:
            reader.close()

    def __del__(self) -> None:
        self.close()


class LatestResponses:
    """Closes the responses of look-ups that many others have followed. Thread-safe without a lock: each step
    on the queue is one of its own methods, and to close responses twice does no harm.
    """

    def __init__(self) -> None:
        self._latest: deque[weakref.ref[Responses]] = deque()

    def add(self, responses: Responses) -> None:
        self._latest.append(weakref.ref(responses))
        self._close_all_but(HELD)

    def close(self) -> None:
        self._close_all_but(0)

    def _close_all_but(self, count: int) -> None:
        while len(self._latest) > count:
            try:
                oldest = self._latest.popleft()()
            except IndexError:  # another thread was faster
                return
            if oldest is not None:
                oldest.close()
