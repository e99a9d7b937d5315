"""What handlers ask of repositories, an upstream's or hosted here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Hash
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient


class Repositories(Protocol):
    """Knows which blobs a repository has."""

    def known(self, reference: Reference, name: Hash) -> Descriptor | None:
        """As `find`, as far as that is known without waiting for an upstream; else None."""

    def find(
        self, reference: Reference, name: Hash, client: RegistryClient | None = None
    ) -> Descriptor | None:
        """The descriptor of a blob of the reference's repository; None if that has no such blob.

        ``client``: what reaches its upstream with a client's own credentials; None: with the mirror's.
        """
