"""One machine fetches a big blob from its source, and the others take it from the tier that they share."""

from __future__ import annotations

import math
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import CircuitBreaker, PerProcess
from layercache.errors import BackendError, ForbiddenError, FormatError
from layercache.events import Event
from layercache.oci.digest import Digest
from layercache.oci.forms import COMPRESSED
from layercache.tiers.lease_store import LEASED_FROM
from layercache.transfer.cancellation import check_cancelled
from layercache.transfer.growing import GivenUpError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.backend import Reader
    from layercache.events import Observers
    from layercache.resolver.in_flight import InFlight
    from layercache.resolver.lease_renewal import Renewal
    from layercache.resolver.plan import Way
    from layercache.resolver.upload_queue import UploadQueue
    from layercache.tiers.lease import Lease
    from layercache.tiers.tier import Tier
    from layercache.transfer.layer_lock import LayerLock

_T = TypeVar("_T")

REST = 600.0
"""Seconds for which a tier has no leases after waiting for one was in vain: the next may be no better."""

_FAR = ("registry", "mirror", "function")
"""Kinds of sources of which it is worth to ask less. A layout and an archive are on this machine."""


class Leases:
    """Takes a lease before a blob is fetched, or waits for the machine that has it. Thread-safe.

    A lease only saves work. Where a tier fails at leases, or does not decide who has one, each machine
    fetches for itself; a holder that is killed, stuck, slow or lying is waited for as `Watch` says.
    """

    # Each object in the attributes guards itself, and the breakers are only looked up. A waiting thread holds
    # the layer's lock of this process, and the lock among processes of this disk, which it keeps alive: so of
    # each disk one thread waits.

    def __init__(
        self, tiers: Sequence[Tier], running: InFlight, uploads: UploadQueue, observers: Observers
    ) -> None:
        self._tiers = tiers
        self._observers = observers
        self._running = running
        self._uploads = uploads
        self._renewal = PerProcess(self._begin_renewal)
        self._closing = threading.Event()
        self._own = threading.local()
        self._breakers: dict[Tier, CircuitBreaker[str]] = {
            tier: CircuitBreaker(REST) for tier in tiers if tier.leases.offered
        }

    def tier_for(self, way: Way, size: int | None) -> Tier | None:
        """The nearest tier in which a lease is wanted before this way to a blob of ``size`` bytes is gone.

        None for a small blob; also where the size is not known, since most of those are small. Asks nobody.
        """
        if size is None or size < LEASED_FROM or way.place.kind not in _FAR:
            return None
        for tier in self._tiers:
            usable = tier in self._breakers and not self._breakers[tier].is_open
            if usable and tier.policy.stores(COMPRESSED) and tier.blobs.fits(size):
                return tier if tier.write_failure is None else None
        return None

    def turn(
        self, way: Way, size: int | None, lead: LayerLock | None, look: Callable[[Tier], Reader | None]
    ) -> Reader | None:
        """Wait until it is this machine's turn to fetch a blob from its source, or the blob is in a tier.

        ``look`` opens it there, if it has come. Returns the reader; None: fetch it now. The lease, if one was
        taken, is given back after ``lead`` has ended. A thread that has another lease does not wait: the
        machine that holds this one may be waiting for that one.
        """
        tier = self.tier_for(way, size)
        if tier is None or size is None or lead is None:
            return None
        if not (works := self._ask(tier, way, tier.leases.works, writing=True)):
            if works is False:
                self._breakers[tier].open("it ignores conditions", seconds=math.inf)
            return None
        return self._wait(tier, way, size, lead, look)

    def _wait(
        self, tier: Tier, way: Way, size: int, lead: LayerLock, look: Callable[[Tier], Reader | None]
    ) -> Reader | None:
        from layercache.tiers.lease import Lease
        from layercache.tiers.lease_watch import Watch

        name, own, shown = Digest(way.name), Lease.of_this_process(size), None
        watch = Watch(size, time.monotonic())
        while seen := self._ask(tier, way, partial(tier.leases.read, name)):
            lease, verdict = seen.lease, watch.judge(seen, time.monotonic())
            if lease is not None and self._mine:
                return None
            if verdict == "wait" and lease is not None:
                if shown != (shown := (lease.token, lease.done)):
                    event = Event("waiting", name, COMPRESSED, tier.name, lease.done, size, lease.host)
                    self._observers.emit(event)
            elif (reader := look(tier)) or verdict == "alone":
                if reader is None:
                    self._breakers[tier].open("waiting was in vain")
                return reader
            elif self._take(tier, way, own, seen.version, lead):
                return None
            if self._closing.wait(watch.pause(time.monotonic())):
                raise GivenUpError
            check_cancelled()
            lead.beat()
        return None

    def _take(self, tier: Tier, way: Way, own: Lease, version: str | None, lead: LayerLock) -> bool:
        """Take a lease, or fail at it and go on without; False: somebody else was faster."""
        name = Digest(way.name)
        taken = self._ask(tier, way, partial(tier.leases.write, name, own, version), writing=True)
        if taken:
            renewal, mine = self._renewal.get(), self._mine
            mine.add(own.token)
            lead.at_end(partial(mine.discard, own.token))
            lead.at_end(partial(renewal.fetched, renewal.hold(tier, name, own)))
        return taken is not False

    @property
    def _mine(self) -> set[str]:
        """The leases that this thread has taken, for blobs that it may be bringing just now."""
        mine: set[str] = self._own.__dict__.setdefault("mine", set())
        return mine

    def _ask(self, tier: Tier, way: Way, call: Callable[[], _T], *, writing: bool = False) -> _T | None:
        """What the store returns; None if it fails, which is treated as any other failure of the tier.

        Who may use the tier for everything but leases fetches without them.
        """
        try:
            return call()
        except (ForbiddenError, FormatError) as error:
            if isinstance(error, ForbiddenError):
                self._breakers[tier].open(error.message, seconds=math.inf)
            note = f"no lease, so each machine fetches for itself: {error.message}"
            self._observers.emit(Event("failed", way.name, COMPRESSED, tier.name, note=note))
        except BackendError as error:
            tier.mark_failed(error, writing=writing)
        return None

    def _begin_renewal(self) -> Renewal:
        from layercache.resolver.lease_renewal import Renewal

        return Renewal(self._running, self._uploads)

    def stop(self) -> None:
        """Have those who wait give up: the cache is being closed."""
        self._closing.set()

    def close(self) -> None:
        """Remove the leases that are held. To be called when nothing is fetched or sent any more."""
        if renewal := self._renewal.made():
            renewal.close()
