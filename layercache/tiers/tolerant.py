"""A tier as requests see it: where it fails it is passed over, told of once, and left alone for a while."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import BackendError, NotFoundError
from layercache.events import Event
from layercache.oci.forms import COMPRESSED
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from layercache.backend import Entry, Reader
    from layercache.backend.capabilities import Lock, Spool
    from layercache.events import Observers
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.tiers.association import Association

REST = 30.0
"""Seconds for which a tier that failed is not asked again."""

_T = TypeVar("_T")


class TolerantTier(Tier):
    """Another tier, whose failures are misses: the next one is asked.

    A tier that cannot be read is left alone altogether, one that cannot be written to is still read: a
    full disk has its entries. ``failure`` and ``write_failure`` tell why; a request that finds nothing
    must look at the former before it speaks of absence (`lookup.not_found`). ``strict``: failures are raised.
    Whoever calls `spool`, `publish_blob`, `copy_blob` or lists what there is, is told of failures and calls
    `pass_over`.
    """

    def __init__(self, tier: Tier, observers: Observers, *, strict: bool = False, rest: float = REST) -> None:
        super().__init__(tier.name, tier.policy, remote=tier.remote)
        self._tier = tier
        self._observers = observers
        self._strict = strict
        self._reading = CircuitBreaker(rest)
        self._writing = CircuitBreaker(rest)
        self._lock = threading.Lock()

    @property
    def failure(self) -> BackendError | None:  # type: ignore[override]  # there an attribute that stays None
        return self._reading.why

    @property
    def write_failure(self) -> BackendError | None:  # type: ignore[override]  # likewise
        return self._reading.why or self._writing.why

    def pass_over(self, error: BackendError, *, writing: bool = False) -> NotFoundError:
        """Leave the tier alone for a while; what to raise to those who take absence for an answer.

        It is told of once. Raises the error itself where the cache is strict.
        """
        if self._strict:
            raise error
        with self._lock:
            told = self.write_failure is not None
            (self._writing if writing else self._reading).begin(error)
        if not told:
            self._observers.emit(Event("failed", None, COMPRESSED, self.name, note=error.message))
        return NotFoundError(f"{self.name} failed and is passed over: {error.message}")

    # What is asked of it

    def open_blob(self, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        self._refuse_if_resting()
        try:
            return self._tier.open_blob(name, start, end)
        except BackendError as error:
            raise self.pass_over(error) from error

    def stat_blob(self, name: Hash) -> Entry:
        self._refuse_if_resting()
        try:
            return self._tier.stat_blob(name)
        except BackendError as error:
            raise self.pass_over(error) from error

    def has_blob(self, name: Hash) -> bool:
        return self._asked(lambda: self._tier.has_blob(name), otherwise=False)

    def image(self, key: str) -> Descriptor:
        self._refuse_if_resting()
        try:
            return self._tier.image(key)
        except BackendError as error:
            raise self.pass_over(error) from error

    def image_time(self, key: str) -> float:
        self._refuse_if_resting()
        try:
            return self._tier.image_time(key)
        except BackendError as error:
            raise self.pass_over(error) from error

    def facts_about(self, name: Hash) -> tuple[list[Association], list[Association]]:
        nothing: tuple[list[Association], list[Association]] = ([], [])
        return self._asked(lambda: self._tier.facts_about(name), nothing)

    def inflates_to(self, digest: Digest, *, claims: bool = False) -> list[Association]:
        return self._asked(lambda: self._tier.inflates_to(digest, claims=claims), [])

    def made_from(self, diff_id: DiffID, *, claims: bool = False) -> list[Association]:
        return self._asked(lambda: self._tier.made_from(diff_id, claims=claims), [])

    def blob_path(self, name: Hash) -> str | None:
        return self._tier.blob_path(name)

    def lock(self, name: Hash, *, timeout: float) -> AbstractContextManager[Lock | None]:
        return self._tier.lock(name, timeout=timeout)

    def spool(self) -> Spool | None:
        return self._tier.spool()

    def fits(self, size: int) -> bool:
        return self._tier.fits(size)

    def blobs(self) -> Iterator[tuple[Hash, Entry]]:
        return self._tier.blobs()

    def associations(self) -> Iterator[Association]:
        return self._tier.associations()

    def images(self) -> Iterator[tuple[str, Descriptor]]:
        return self._tier.images()

    # What is written there only saves work: where it cannot be, nothing is wrong

    def put_blob(self, name: Hash, data: bytes) -> None:
        self._write(lambda: self._tier.put_blob(name, data))

    def delete_blob(self, name: Hash) -> None:
        self._write(lambda: self._tier.delete_blob(name))

    def put_aside(self, name: Hash) -> None:
        self._write(lambda: self._tier.put_aside(name))

    def record(self, fact: Association) -> None:
        self._write(lambda: self._tier.record(fact))

    def forget(self, fact: Association) -> None:
        self._write(lambda: self._tier.forget(fact))

    def publish_blob(self, name: Hash, spool: Spool, size: int) -> None:
        self._tier.publish_blob(name, spool, size)

    def copy_blob(self, name: Hash, reader: Reader) -> None:
        self._tier.copy_blob(name, reader)

    def forget_image(self, key: str) -> None:
        self._write(lambda: self._tier.forget_image(key))

    def close(self) -> None:
        try:
            self._tier.close()
        except BackendError as error:  # all that was committed is there
            self.pass_over(error)

    def tag_image(self, key: str, descriptor: Descriptor) -> None:
        self._write(lambda: self._tier.tag_image(key, descriptor))

    def _asked(self, ask: Callable[[], _T], otherwise: _T) -> _T:
        if self.failure is not None:
            return otherwise
        try:
            return ask()
        except BackendError as error:
            self.pass_over(error)
            return otherwise

    def _write(self, write: Callable[[], object]) -> None:
        if self.write_failure is None:
            try:
                write()
            except BackendError as error:
                self.pass_over(error, writing=True)

    def _refuse_if_resting(self) -> None:
        if (failure := self._reading.why) is not None:
            raise NotFoundError(f"{self.name} failed and is left alone: {failure.message}") from failure


class CircuitBreaker:
    """A while in which something that failed is not tried."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0
        self._why: BackendError | None = None

    @property
    def why(self) -> BackendError | None:
        """What failed; None where it may be tried."""
        if self._why is not None and time.monotonic() >= self._until:
            self._why = None
        return self._why

    def begin(self, why: BackendError) -> None:
        self._why, self._until = why, time.monotonic() + self._seconds
