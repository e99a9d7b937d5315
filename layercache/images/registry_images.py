"""Images of registries, what is cached of them and what they are now, each asked for apart: for a mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.images import repositories
from layercache.sources.registry import RegistrySource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.images.opening import Images
    from layercache.images.tags import CachedManifest
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.tiers.tier import Tier


class RegistryImages:
    """Manifests, referrers and tags of registries' repositories. Thread-safe.

    What is named ``cached`` asks only tiers; everything else asks the registry, once: whoever answers others
    has to decide himself what to do about failures.
    """

    def __init__(self, images: Images, tiers: Sequence[Tier], client: Callable[[], RegistryClient]) -> None:
        self._images = images
        self._tiers = tiers
        self._client = client

    def cached_manifest(self, reference: Reference) -> CachedManifest:
        """What a reference named when it was last pulled. Raises `NotFoundError`, `FormatError`."""
        return self._images.cached_root(reference)

    def manifest(
        self, reference: Reference, *, new: bool, client: RegistryClient | None = None
    ) -> tuple[Descriptor, bytes]:
        """What a reference names at its registry now, which is recorded.

        Only the registry's answer counts, to a HEAD where the document may be cached, or to a GET if it is
        ``new``. ``client``: with other credentials. Raises `NotFoundError`, `SourceError`, `FormatError`,
        `DigestMismatchError`.
        """
        source = RegistrySource(self._asking(client), reference)
        return self._images.root_at(source, reference, new=new)

    def cached_tags(self, repository: Reference) -> list[str]:
        """As `repositories.cached_tags`."""
        return repositories.cached_tags(self._tiers, repository)

    def tags(self, repository: Reference, client: RegistryClient | None = None) -> list[str]:
        """As `repositories.tags_in_registry`."""
        return repositories.tags_in_registry(self._asking(client), repository)

    def _asking(self, client: RegistryClient | None) -> RegistryClient:
        return (client or self._client()).without_retries()
