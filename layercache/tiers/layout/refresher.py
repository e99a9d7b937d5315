"""index.json is rewritten some time after the cache has changed: never on the way of a request."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from layercache.backend import PerProcess
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


class _Changes:
    """What one process has changed and not written yet. ``lock`` guards whether there is a thread.

    ``noted`` is set under the lock and read without it: a change that is noted twice is written once.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.noted = False
        self.thread: threading.Thread | None = None


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
        self._changes = PerProcess(_Changes)

    def note_change(self) -> None:
        """Something was kept or removed. Costs next to nothing."""
        changes = self._changes.get()
        if changes.noted or not self._tiers:
            return
        with changes.lock:
            changes.noted = True
            if changes.thread is None and not changes.closing.is_set():
                work = partial(self._work, changes)
                changes.thread = threading.Thread(target=work, name="layercache index", daemon=True)
                changes.thread.start()

    def close(self) -> None:
        """Write what has changed since it was written last. Closing twice is not an error."""
        if changes := self._changes.made():
            changes.closing.set()
            with changes.lock:
                thread = changes.thread
            if thread is not None:
                thread.join()
            self._write(changes)

    def _work(self, changes: _Changes) -> None:
        pause = self._pause
        while not changes.closing.wait(pause):
            begun = time.monotonic()
            self._write(changes)
            pause = max(self._pause, SHARE * (time.monotonic() - begun))
            with changes.lock:
                if not changes.noted:
                    changes.thread = None
                    return

    def _write(self, changes: _Changes) -> None:
        from layercache.tiers.layout.index_writer import write_index

        if not changes.noted:
            return
        changes.noted = False  # before it is looked at: what comes in between is written the next time
        for tier in self._tiers:
            try:
                write_index(tier, durable=False)
            except LayercacheError as error:
                note = f"index.json was not written: {error.message}"
                self._observers.emit(Event("failed", None, COMPRESSED, tier.name, note=note))
