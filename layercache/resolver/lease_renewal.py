"""The leases that this process holds: renewed while it fetches and sends, removed when it is done."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct, field

from layercache.errors import FormatError, LayercacheError
from layercache.oci.digest import Digest
from layercache.oci.forms import COMPRESSED
from layercache.tiers import keys
from layercache.tiers.concurrently import FanOut
from layercache.tiers.lease import Lease
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from layercache.resolver.in_flight import InFlight
    from layercache.resolver.upload_queue import Upload, UploadQueue

RENEWED_EVERY = 5.0
"""Seconds between two writes of a lease by its holder."""

YOUNG = 10.0
"""Seconds in which nobody takes a new lease over: it is removed without looking whose it is by now."""

LAST_WORDS = 3.0
"""Seconds in which leases are removed when the cache is closed. Others wait a little longer for the rest."""


class HeldLease(Struct, eq=False):
    """A lease in a tier, as it was last written. Its fields belong to `Renewal`; times are monotonic."""

    tier: Tier
    name: Digest
    lease: Lease
    since: float = field(default_factory=time.monotonic)
    renewed: float = field(default_factory=time.monotonic)
    ended: bool = False


class Renewal:
    """Renews the leases of one process in one thread, which lives while there are any. Thread-safe."""

    # The condition guards the dictionary of leases, their ``ended``, and the thread. Requests are made
    # without it, by that thread and those that it waits for: only they change ``lease`` and ``renewed``.

    def __init__(self, running: InFlight, uploads: UploadQueue) -> None:
        self._running = running
        self._uploads = uploads
        self._changed = threading.Condition()
        self._held: dict[HeldLease, None] = {}
        self._thread: threading.Thread | None = None
        self._at_once = FanOut()

    def hold(self, tier: Tier, name: Digest, lease: Lease) -> HeldLease:
        """Renew a lease that was just written."""
        held = HeldLease(tier, name, lease)
        with self._changed:
            self._held[held] = None
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="layercache leases", daemon=True)
                with suppress(RuntimeError):  # no more threads: then others soon do not wait for us
                    thread.start()
                    self._thread = thread
        return held

    def fetched(self, held: HeldLease) -> None:
        """The fetch has ended, well or not: remove the lease, but first send the blob if it is to be sent."""
        if self._uploads.pending(held.tier.name, keys.blob(held.name)) is None:
            self._end(held)
        else:  # behind the blob, as both are about one layer
            end = partial(self._end, held)
            try:
                self._uploads.add(end, about=held.name, drop=end)
            except RuntimeError:  # no more threads, so nothing is sent either
                end()

    def _end(self, held: HeldLease) -> None:
        with self._changed:
            held.ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Remove all of them: nothing is fetched or sent any more."""
        with self._changed:
            thread = self._thread
            for held in self._held:
                held.ended = True
            self._changed.notify_all()
        if thread is not None:
            thread.join(LAST_WORDS)
        self._at_once.close()

    def _run(self) -> None:
        while due := self._due():
            self._at_once(*(partial(self._remove if held.ended else self._renew, held) for held in due))

    def _due(self) -> list[HeldLease]:
        """Wait for what has to be removed or renewed. Nothing: the thread ends, as no lease is left."""
        with self._changed:
            while self._held:
                now = time.monotonic()
                due = [held for held in self._held if held.ended or now >= held.renewed + RENEWED_EVERY]
                if due:
                    return due
                self._changed.wait(min(held.renewed for held in self._held) + RENEWED_EVERY - now)
            self._thread = None
            return []

    def _renew(self, held: HeldLease) -> None:
        held.renewed, lease = time.monotonic(), self._next(held)
        try:
            seen = held.tier.leases.read(held.name)
            if seen.is_of(lease) and held.tier.leases.write(held.name, lease, seen.version):
                held.lease = lease
            else:  # somebody took it over, or removed it: we go on without
                self._forget(held)
        except FormatError:
            self._forget(held)
        except LayercacheError:
            pass  # tried again at the next time, unless others take it over before

    def _next(self, held: HeldLease) -> Lease:
        lease, upload = held.lease, self._upload(held)
        received, sent = lease.received, lease.sent
        if running := self._running.get(held.name, COMPRESSED):
            received = running.transfer.received
        elif upload is not None:
            received, sent = lease.size, upload.so_far
        return lease.renewed(received, sent)

    def _upload(self, held: HeldLease) -> Upload | None:
        return self._uploads.pending(held.tier.name, keys.blob(held.name))

    def _remove(self, held: HeldLease) -> None:
        try:
            if time.monotonic() < held.since + YOUNG or held.tier.leases.read(held.name).is_of(held.lease):
                held.tier.leases.remove(held.name)
        except LayercacheError:
            pass  # others stop waiting for it soon, and `prune` removes it
        finally:
            self._forget(held)

    def _forget(self, held: HeldLease) -> None:
        with self._changed:
            self._held.pop(held, None)
