"""Who brings a layer, among processes that share a disk: the others wait, and use what was brought.

It only saves work. A leader that is killed lets go of the lock, one that stalls is not waited for, and where
there are no locks everybody brings the layer for himself.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from layercache.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend.capabilities import Lock
    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier

PATIENCE = 15.0
"""Seconds without a sign of life after which a leader is not waited for."""

BEAT = 1.0
"""Seconds between signs of life, at most one a chunk: so they stop where bytes do."""


class LayerLock:
    """A layer's lock, held while its bytes come."""

    def __init__(self, stack: ExitStack, lock: Lock | None) -> None:
        self._stack = stack
        self._lock = lock
        self._last = time.monotonic()

    def beat(self) -> None:
        """Bytes have come: processes that wait go on waiting."""
        now = time.monotonic()
        if self._lock is not None and now - self._last >= BEAT:
            self._last = now
            with suppress(BackendError):
                self._lock.leave_note(b"")

    def at_end(self, call: Callable[[], object]) -> None:
        """Call this when it ends. To be called before others can end it."""
        self._stack.callback(call)

    def end(self) -> None:
        """Let the others have a look. Ending twice is not an error."""
        with suppress(BackendError):
            self._stack.close()


class LayerLocks:
    """Takes leads. A thread that is in the middle of one layer does not wait for another layer.

    Two processes that each read two layers, in opposite order, would else wait for each other.
    """

    def __init__(self) -> None:
        self._own = threading.local()

    def take(self, tier: Tier, name: Hash) -> LayerLock:
        """Lead the bringing of a layer into this tier, perhaps after waiting for who did; or go on alone."""
        mine: set[object] = self._own.__dict__.setdefault("mine", set())
        stack, token, lock = ExitStack(), object(), None
        with suppress(BackendError):
            lock = stack.enter_context(tier.blobs.lock(name, timeout=0 if mine else PATIENCE))
        if lock is not None:
            mine.add(token)
            stack.callback(mine.discard, token)
        return LayerLock(stack, lock)
