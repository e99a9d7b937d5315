"""Leases in a backend with conditional writes: one object for each blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend.capabilities import Conditional
from layercache.errors import NotFoundError
from layercache.tiers import keys
from layercache.tiers.lease_store import LeaseStore

if TYPE_CHECKING:
    from layercache.backend import Backend
    from layercache.oci.digest import Digest
    from layercache.tiers.lease import Lease, SeenLease
    from layercache.tiers.policy import Policy


class BackendLeases(LeaseStore):
    """For tiers that want leases: by default remote ones, since one on this machine has locks."""

    def __init__(self, backend: Backend, policy: Policy) -> None:
        self._backend = backend
        usable = not policy.readonly and isinstance(backend, Conditional)
        self._store = backend if usable and isinstance(backend, Conditional) else None
        self.offered = self._store is not None

    def works(self) -> bool:
        return self._store is not None and self._store.honours_conditions()

    def read(self, name: Digest) -> SeenLease:
        from layercache.tiers.lease import Lease, SeenLease

        assert self._store is not None, "the store was asked whether it works"
        try:
            data, version = self._store.read_versioned(keys.lease(name))
        except NotFoundError:
            return SeenLease(None, None)
        return SeenLease(version, Lease.parse(data))

    def write(self, name: Digest, lease: Lease, version: str | None) -> bool:
        assert self._store is not None, "the store was asked whether it works"
        return self._store.write_if(keys.lease(name), lease.encode(), version)

    def remove(self, name: Digest) -> None:
        self._backend.delete(keys.lease(name))
