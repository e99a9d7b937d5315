"""A tier as requests see it: where it fails it is skipped, reported once, and not asked for a while."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

from layercache.backend import CircuitBreaker
from layercache.errors import BackendError, NotFoundError, StoreFormatError
from layercache.events import Event
from layercache.oci.forms import COMPRESSED
from layercache.tiers.on_failure import tolerant
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.events import Observers
    from layercache.oci.digest import Hash

TIER_REST = 30.0
"""Seconds for which a tier that failed is not asked again."""


def tolerant_tiers(tiers: Iterable[Tier], observers: Observers, *, strict: bool) -> tuple[TolerantTier, ...]:
    """The tiers of a cache, nearest first."""
    return tuple(
        TolerantTier(tier, observers, strict=strict, nearest=not number) for number, tier in enumerate(tiers)
    )


class TolerantTier(Tier):
    """Another tier, whose failures are misses: the next one is asked.

    What stands in for an answer each method of a store declares (`layercache.tiers.on_failure`). A tier that
    cannot be read is skipped altogether, one that cannot be written to is still read: a full disk has its
    entries. A request that finds nothing must look at ``failure`` before it reports absence
    (`absence.not_found`). ``strict``: failures are raised. ``nearest``: a store of another format is an
    error, since the cache would look empty without it. ``rest``: seconds for which it is skipped.
    """

    def __init__(
        self,
        tier: Tier,
        observers: Observers,
        *,
        strict: bool = False,
        nearest: bool = False,
        rest: float = TIER_REST,
    ) -> None:
        self._tier = tier
        self._observers = observers
        self._raised = BackendError if strict else StoreFormatError if nearest else ()
        self._reading: CircuitBreaker[BackendError] = CircuitBreaker(rest)
        self._writing: CircuitBreaker[BackendError] = CircuitBreaker(rest)
        # What has failed and was not seen to work since: it outlasts the breakers.
        self._lost: frozenset[Literal["reading", "writing"]] = frozenset()
        # Makes "is this the first failure?" and noting it one step: of many requests that fail at the same
        # time one reports it. So it is with the first answer after that. Nothing else is done under it; each
        # breaker, and what is lost, may be read without it.
        self._reporting = threading.Lock()
        super().__init__(
            tier.name,
            tier.policy,
            remote=tier.remote,
            blobs=tolerant(tier.blobs, self),
            facts=tolerant(tier.facts, self),
            images=tolerant(tier.images, self),
            derived=tolerant(tier.derived, self),
        )
        self.leases = tier.leases  # who takes leases has a circuit breaker of their own
        tier.report_refreshed(self._count_refreshed)

    def _count_refreshed(self, name: Hash) -> None:
        self._observers.emit(Event("refreshed", name, COMPRESSED, self.name))

    @property
    def failure(self) -> BackendError | None:
        return self._reading.why if self.lost else None

    @property
    def write_failure(self) -> BackendError | None:
        return (self._reading.why or self._writing.why) if self.lost else None

    def mark_failed(self, error: BackendError, *, writing: bool = False) -> NotFoundError:
        """Leave the tier alone for a while; what to raise to those who take absence for an answer.

        It is reported once. Raises the error itself where the cache is strict, or looks empty without it.
        """
        if isinstance(error, self._raised):
            raise error
        with self._reporting:
            reported = self.write_failure is not None
            (self._writing if writing else self._reading).open(error)
            before, self._lost = self._lost, self._lost | {"writing" if writing else "reading"}
            self.lost = True
        if not reported:
            repeated = "reading" in before or before == self._lost  # what cannot be read is lost altogether
            words = {"note": error.message, "hint": error.hint}
            self._observers.emit(Event("failed", None, COMPRESSED, self.name, **words, repeated=repeated))
        return NotFoundError(f"{self.name} failed and is skipped: {error.message}")

    def mark_answered(self, *, writing: bool = False) -> None:
        what: Literal["reading", "writing"] = "writing" if writing else "reading"
        with self._reporting:
            # A request that began before the failure says nothing about what comes after it.
            if what not in self._lost or (self._writing if writing else self._reading).is_open:
                return
            self._lost -= {what}
            self.lost = bool(self._lost)
            recovered = not self.lost
        if recovered:
            self._observers.emit(Event("recovered", None, COMPRESSED, self.name))

    def absent(self, failure: BackendError) -> NotFoundError:
        return NotFoundError(f"{self.name} failed and is skipped for now: {failure.message}")

    def close(self) -> None:
        try:
            self._tier.close()
        except BackendError as error:  # all that was committed is there
            self.mark_failed(error)
