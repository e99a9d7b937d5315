"""The transfers that are on their way in this process, so that a second asker joins the first."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from layercache.backend import PerProcess
from layercache.oci.digest import Digest, Hash
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.stage import Stage
    from layercache.transfer.transfer import Transfer

_STRIPES = 256
"""Locks that layers share. One is held until a blob's first byte is there: of few, others would wait too."""

Key = tuple[Hash, Form]


class InFlightTransfer(Value, frozen=True):
    """A transfer, and its stage: what it is for, and, once it was verified, what it found out."""

    transfer: Transfer
    stage: Stage


class _Table:
    """The transfers of one process.

    ``lock`` guards changes of ``running``; looking into it needs none. It is reentrant: a follower that was
    not closed leaves when it is collected, which may be inside any block that holds the lock. ``stripes``
    are the locks of `InFlight.starting`, each shared by many layers; they are taken before ``lock``, never
    inside it.
    """

    def __init__(self) -> None:
        self.running: dict[Key, InFlightTransfer] = {}
        self.lock = threading.RLock()
        self.stripes = [threading.RLock() for _ in range(_STRIPES)]


class InFlight:
    """Running transfers by name and form. Thread-safe; a forked child begins with none."""

    def __init__(self) -> None:
        self._tables = PerProcess(_Table)

    def starting(self, name: Hash) -> threading.RLock:
        """The lock under which transfers of a layer are looked for and begun, so that there is one."""
        return self._tables.get().stripes[hash(name) % _STRIPES]

    def get(self, name: Hash, form: Form) -> InFlightTransfer | None:
        """The transfer that is on its way, if one is."""
        return self._tables.get().running.get((name, form))

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        table = self._tables.made()
        return table is None or not table.running

    def last(self, digest: Hash) -> InFlightTransfer | None:
        """Of a layer's transfers the one that ends last: the tar is made of the blob."""
        return self.get(digest, UNCOMPRESSED) or self.get(digest, COMPRESSED)

    def is_begun_for(self, layer: LayerState) -> bool:
        """Whether one of them was begun for this layer's asker, and so writes down what the asker knows."""
        return any(running.stage.layer is layer for running in self._all().values())

    def add(self, keys: Iterable[Key], running: InFlightTransfer) -> None:
        table = self._tables.get()
        with table.lock:
            table.running.update(dict.fromkeys(keys, running))

    def remove(self, transfer: Transfer) -> None:
        table = self._tables.get()
        with table.lock:
            for key, running in table.running.copy().items():
                if running.transfer is transfer:
                    table.running.pop(key, None)

    def digests(self) -> set[Digest]:
        """The layers that are on their way."""
        return {name for name, _ in self._all() if isinstance(name, Digest)}

    def give_up_or_finish(self) -> None:
        """As if all readers left now: have those seen to their end that are worth it, give up the others."""
        for transfer in {running.transfer for running in self._all().values()}:
            if not transfer.is_finishing and not transfer.finish_soon():
                transfer.cancel()

    def cancel(self, seconds: float) -> None:
        """Give up all of them, and wait at most this many seconds until their threads have ended."""
        threads = {running.transfer.cancel() for running in self._all().values()}
        deadline = time.monotonic() + seconds
        for thread in threads:
            if thread is not None:
                thread.join(max(0, deadline - time.monotonic()))

    def _all(self) -> dict[Key, InFlightTransfer]:
        table = self._tables.made()
        return table.running.copy() if table else {}
