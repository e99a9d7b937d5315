"""Where a tier has leases. Each command imports this, and only those that fetch a big blob more of leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layercache.oci.digest import Digest
    from layercache.tiers.lease import Lease, SeenLease

LEASED_FROM = 4 << 20
"""Bytes of a blob from which a lease is taken: for less, asking costs more than fetching it twice."""


class LeaseStore:
    """The leases of a tier. They only save work: nothing that is read or written may depend on them.

    This class itself is the store of a tier that has none. Every method may raise `BackendError`, and is
    thread-safe.
    """

    offered = False
    """Whether leases are wanted here, and the store has what they need. Asks nobody."""

    def works(self) -> bool:
        """Whether the store decides who holds a lease. The first call in a process may cost requests."""
        return False

    def read(self, name: Digest) -> SeenLease:  # noqa: ARG002
        """What is there, in one request. Raises `FormatError` for an object that is too big to be read."""
        from layercache.tiers.lease import SeenLease

        return SeenLease(None, None)

    def write(self, name: Digest, lease: Lease, version: str | None) -> bool:  # noqa: ARG002
        """Write a lease if there still is what was read; return whether it was written."""
        return False

    def remove(self, name: Digest) -> None:
        """Remove a lease, whoever holds it. No error if it is not there."""
