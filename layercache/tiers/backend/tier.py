"""A tier on a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend.capabilities import Spooler
from layercache.tiers.backend.blobs import BackendBlobs
from layercache.tiers.backend.derived import BackendDerived
from layercache.tiers.backend.images import BackendImages
from layercache.tiers.backend.records import BackendRecords
from layercache.tiers.facts import FactStore
from layercache.tiers.guarded import guarded
from layercache.tiers.quota import Quota
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Backend
    from layercache.oci.digest import Hash
    from layercache.tiers.backend.use import Use
    from layercache.tiers.policy import Policy


class BackendTier(Tier):
    """A tier on any `Backend`, which is ``remote`` unless it has a spool.

    ``backend`` is the store under it, with a guard around it; ``room`` keeps its blobs and derived objects
    within the policy's limits; ``use`` refreshes the times of a remote store's blobs.
    """

    images: BackendImages

    def __init__(self, backend: Backend, policy: Policy) -> None:
        self.backend = backend = guarded(backend)
        self.room = Quota(backend, policy)
        remote = not isinstance(backend, Spooler)
        self.use = use = _use(backend, policy) if remote else None
        super().__init__(
            backend.url,
            policy,
            remote=remote,
            blobs=BackendBlobs(backend, policy, self.room, use),
            facts=FactStore(BackendRecords(backend, remote=remote), policy),
            images=BackendImages(backend),
            derived=BackendDerived(backend, policy, self.room),
        )
        if remote if policy.lease is None else policy.lease:
            from layercache.tiers.backend.leases import BackendLeases

            self.leases = BackendLeases(backend, policy)

    def report_refreshed(self, report: Callable[[Hash], object]) -> None:
        if self.use is not None:
            self.use.report = report

    def close(self) -> None:
        if self.use is not None:
            self.use.close()
        self.facts.records.close()
        self.backend.close()


def _use(backend: Backend, policy: Policy) -> Use:
    from layercache.tiers.backend.use import Use  # imported for remote stores alone

    return Use(backend, policy)
