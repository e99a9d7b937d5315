"""What remote tiers answered a look-up about blobs: the first reader of the layer goes on with that."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier

HELD_FOR = 10.0
"""Seconds after which a response is not used any more: servers close connections from which nobody reads."""

ABSENT_FOR = 2.0
"""Seconds for which a blob that was not there is believed to be missing still."""


class Responses:
    """Responses of one look-up. They belong to the process that asked: a forked child leaves them alone.

    Thread-safe: several threads may read one layer. ``_lock`` guards ``_readers`` and ``_absent``, so that
    each response is taken once. Nothing is closed under it.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._until = time.monotonic() + HELD_FOR
        self._lock = threading.Lock()
        self._readers: dict[tuple[Tier, Hash], Reader] = {}
        self._absent: dict[tuple[Tier, Hash], float] = {}  # until when that is believed

    def hold(self, tier: Tier, name: Hash, reader: Reader) -> None:
        with self._lock:
            self._readers[tier, name] = reader

    def note_absent(self, tier: Tier, name: Hash) -> None:
        """The tier has no such blob: the first who wants to read it need not ask for it again."""
        with self._lock:
            self._absent[tier, name] = time.monotonic() + ABSENT_FOR

    def take(self, tier: Tier, name: Hash) -> Reader | None:
        """The response with this blob; None: ask the tier. The caller closes it.

        Raises `NotFoundError` if the tier has just answered that the blob is not there.
        """
        if self._owner != os.getpid():  # first: the parent's lock may be held for ever in a child
            return None
        with self._lock:
            reader = self._readers.pop((tier, name), None)
            absent_until = self._absent.pop((tier, name), 0.0)
        if time.monotonic() < absent_until:
            raise NotFoundError(f"{name} is not in {tier.name}")
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
