"""A tier's limits, held by themselves: room is made before a blob is published.

What is published, and how much of it there is, is agreed between processes under a lock of the store: the
count of bytes is the lock's note. It counts a blob before the blob is there, so a process that is killed
leaves it too high and never too low; each eviction counts again. Where a store has no locks, each process
counts for itself, and the limit is kept roughly.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from layercache.backend import PerProcess
from layercache.backend.capabilities import Lock, Lockable, Touchable
from layercache.errors import BackendError, ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from layercache.backend import Backend
    from layercache.oci.digest import Hash
    from layercache.tiers.eviction import Candidate, Eviction
    from layercache.tiers.policy import Policy

LOCK = "usage"

PATIENCE = 30.0
"""Seconds to wait for the lock. A process that holds it longer was stopped: then it continues without."""

RECOUNT = 600.0
"""Seconds after which the count is not trusted: processes without a limit publish here too, uncounted."""

LOW_WATER = 0.9
"""Share of the limit down to which is evicted, so that not every publishing has to look at every blob."""


class Usage(Struct, eq=False):
    """Bytes of all blobs and derived objects, and when they were counted; every publishing adds to them."""

    used: int = 0
    counted: float = 0.0
    lock: Lock | None = None
    refused: int = 0
    """Blobs that were to go, and that this user may not remove."""

    @classmethod
    def under(cls, lock: Lock) -> Usage:
        """What the lock's note says. One that was never counted, where the note is torn or none."""
        try:
            used, counted, end = lock.note().decode("ascii").split(" ")
            if end == "end":
                return cls(int(used), float(counted), lock)
        except ValueError:
            pass
        return cls(lock=lock)

    def save(self) -> None:
        """Write it down for the next holder. An account without a lock is this process's own."""
        if self.lock is not None:
            self.lock.leave_note(f"{self.used} {self.counted:.3f} end".encode("ascii"))

    @property
    def fresh(self) -> bool:
        return self.used >= 0 and 0 <= time.time() - self.counted < RECOUNT


class _OwnUsage:
    """What this process counts by itself in a store without locks. ``lock`` is held while it publishes."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.lock = threading.Lock()


class Quota:
    """Keeps the blobs of one store within a policy's limits. Thread-safe."""

    def __init__(self, backend: Backend, policy: Policy) -> None:
        self._backend = backend
        self._policy = policy
        self._max_size = policy.max_size
        self._max_age = policy.max_age
        self._lockable = backend if isinstance(backend, Lockable) else None
        self._own = PerProcess(_OwnUsage)
        self._spared: Counter[Hash] = Counter()
        self._sparing = threading.Lock()
        """Guards changes of the counter; who only reads it may see one change more or less."""

    @property
    def is_free(self) -> bool:
        """Whether there are no limits."""
        return self._max_size is None and self._max_age is None

    def fits(self, size: int) -> bool:
        """Whether a blob of so many bytes may be kept at all."""
        return self._max_size is None or size <= self._max_size

    @contextmanager
    def sparing(self, names: Collection[Hash]) -> Iterator[None]:
        """Do not evict these blobs, nor any document of an image, inside the block: they are being pulled."""
        with self._sparing:
            self._spared.update(names)
        try:
            yield
        finally:
            with self._sparing:
                self._spared -= Counter(names)

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Publish a blob of so many bytes, which fits, inside the block. Raises `BackendError`."""
        if self.is_free:
            yield
            return
        with self._account() as account:
            self._make_room(account, size)
            account.used += size
            account.save()
            if account.lock is not None:  # a process that recounts must find what was counted already
                yield
                return
        yield

    @contextmanager
    def evicting(
        self, *, max_size: int | None = None, max_age: float | None = None
    ) -> Iterator[tuple[Usage, Iterator[Eviction]]]:
        """What goes by these limits, each blob deleted as it is given, and the account of what is left.

        Nobody else publishes within the tier's limits inside the block.
        """
        with self._account(evicting=True) as account:
            try:
                yield account, self._evict(account, limit=max_size, max_age=max_age)
            finally:
                with suppress(BackendError):  # on a full disk the old count stays, which is too high
                    account.save()

    def _make_room(self, account: Usage, size: int) -> None:
        limit = goal = None
        if self._max_size is not None:
            limit = self._max_size - size
            goal = max(0, int(self._max_size * LOW_WATER) - size)
        if not account.fresh or (limit is not None and account.used > limit):
            for _ in self._evict(account, limit=limit, goal=goal, max_age=self._max_age):
                pass
            if self._spared and limit is not None and account.used > limit:
                raise BackendError(
                    f"{self._backend.url}: what is being pulled exceeds max_size={self._max_size}",
                    hint="raise max_size, or pull less at once",
                )

    def _evict(
        self, account: Usage, *, limit: int | None, max_age: float | None, goal: int | None = None
    ) -> Iterator[Eviction]:
        from layercache.tiers.eviction import DOCUMENT, candidates, select

        blobs = candidates(self._backend, self._policy)
        account.used, account.counted = sum(blob.size for blob in blobs), time.time()
        self._count_from_now(blobs)
        spared = dict(self._spared)
        if spared:
            kept = [blob for blob in blobs if blob.name in spared or blob.rank == DOCUMENT]
            blobs = [blob for blob in blobs if blob.name not in spared and blob.rank != DOCUMENT]
            size = sum(blob.size for blob in kept)
            limit, goal = (None if each is None else max(0, each - size) for each in (limit, goal))

        def remove(blob: Candidate) -> bool:
            try:
                for key in blob.objects():
                    self._backend.delete(key)
            except ForbiddenError:  # another user's, in a folder where each removes his own
                account.refused += 1
                return False
            account.used -= blob.size
            return True

        yield from select(blobs, remove, limit=limit, goal=goal, max_age=max_age)

    def _count_from_now(self, blobs: Iterable[Candidate]) -> None:
        """Write down of what was used in the future that it was used now: else it would be new for years."""
        if isinstance(self._backend, Touchable):
            for blob in blobs:
                if blob.ahead:
                    with suppress(BackendError):
                        self._backend.touch(blob.key)

    @contextmanager
    def _account(self, *, evicting: bool = False) -> Iterator[Usage]:
        """``evicting``: also without a lock, which on a full disk cannot be had before something went."""
        if self._lockable is not None:
            with ExitStack() as held:
                lock = None
                try:
                    lock = held.enter_context(self._lockable.lock(LOCK, timeout=PATIENCE))
                except BackendError:
                    if not evicting:
                        raise
                yield Usage.under(lock) if lock else Usage()
        else:
            own = self._own.get()
            with own.lock:
                yield own.usage
