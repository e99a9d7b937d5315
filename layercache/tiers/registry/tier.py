"""A registry as a tier: ``oci://registry/repository``, shared with all who may read there.

Blobs are blobs. What a cache on disk writes as facts and images, a registry keeps as small artefacts under
tags: one a name (`NameRecord`), one an image. The manifests of images are kept as manifests
too, as soon as all that they name is there, so that other tools pull them by digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.tiers.facts import FactStore
from layercache.tiers.registry.blobs import RegistryBlobs
from layercache.tiers.registry.connection import Connection
from layercache.tiers.registry.facts import RegistryRecords
from layercache.tiers.registry.images import RegistryImages
from layercache.tiers.stores import DerivedStore
from layercache.tiers.tier import Tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.registry.repository import Repository
    from layercache.tiers.policy import Policy
    from layercache.tiers.registry.records import Records

SCHEME = "oci"


class RegistryTier(Tier):
    """A tier in one repository of a registry. The repository should be the cache's alone.

    ``client`` is called when the registry is first asked. Listings cost a request for each name, in no
    order. A blob's time is when it came, as the record of its name shows; using it does not refresh it.
    It keeps no derived objects: what can be computed again is not worth a tag that others see.
    """

    def __init__(self, reference: Reference, policy: Policy, client: Callable[[], RegistryClient]) -> None:
        name = f"{SCHEME}://{reference.name}"
        self._at = at = Connection(name, reference, client)
        super().__init__(
            name,
            policy,
            remote=True,
            blobs=RegistryBlobs(at),
            facts=FactStore(RegistryRecords(at), policy),
            images=RegistryImages(at, policy),
            derived=DerivedStore(),
        )

    @property
    def client(self) -> RegistryClient:
        """How the registry is reached."""
        return self._at.client

    @property
    def repository(self) -> Repository:
        """The repository as it is: blobs by their hash, manifests, tags."""
        return self._at.repository

    @property
    def records(self) -> Records:
        """The artefacts in it."""
        return self._at.records

    def close(self) -> None:
        self._at.close()
