"""index.json is rewritten some time after the cache has changed: never on the way of a request."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from layercache.backend.capabilities import LocalPath
from layercache.errors import LayercacheError
from layercache.events import Event
from layercache.oci.forms import COMPRESSED
from layercache.tiers.backend.tier import BackendTier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.events import Observers
    from layercache.tiers.tier import Tier

PAUSE = 5.0
"""Seconds from a change to the writing of it, if the cache stays open for so long."""

SHARE = 20
"""At most one part in so many of the time is spent on it, however big the cache is."""


class IndexRefresher:
    """Keeps index.json true in the tiers on local disks. A forked child has its own changes alone.

    A killed process leaves an older view: the next change repairs it. A failure is reported as an event:
    only other tools depend on the file.
    """

    def __init__(self, tiers: Iterable[Tier], observers: Observers, *, pause: float = PAUSE) -> None:
        self._tiers = [
            tier
            for tier in tiers
            if isinstance(tier, BackendTier)
            and isinstance(tier.backend, LocalPath)
            and not tier.policy.readonly
        ]
        self._observers = observers
        self._pause = pause
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._changed = False
        self._thread: threading.Thread | None = None

    def note_change(self) -> None:
        """Something was kept or removed. Costs next to nothing."""
        if self._changed and self._pid == os.getpid():
            return
        if self._pid != os.getpid():
            self._begin()
        if self._tiers:
            with self._lock:
                self._changed = True
                if self._thread is None and not self._closing.is_set():
                    self._thread = threading.Thread(target=self._work, name="layercache index", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """Write what has changed since it was written last. Closing twice is not an error."""
        if self._pid != os.getpid():
            return
        self._closing.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        self._write()

    def _work(self) -> None:
        pause = self._pause
        while not self._closing.wait(pause):
            begun = time.monotonic()
            self._write()
            pause = max(self._pause, SHARE * (time.monotonic() - begun))
            with self._lock:
                if not self._changed:
                    self._thread = None
                    return

    def _write(self) -> None:
        from layercache.tiers.layout.index_writer import write_index

        if not self._changed:
            return
        self._changed = False  # before it is looked at: what comes in between is written the next time
        for tier in self._tiers:
            try:
                write_index(tier, durable=False)
            except LayercacheError as error:
                note = f"index.json was not written: {error.message}"
                self._observers.emit(Event("failed", None, COMPRESSED, tier.name, note=note))
