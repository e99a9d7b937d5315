"""Images of registries, what is cached of them and what they are now, each asked for apart: for a mirror."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from layercache.errors import BackendError, IntegrityError, NotFoundError, SourceError
from layercache.images import repositories
from layercache.oci.digest import Digest
from layercache.oci.reference import Reference
from layercache.oci.referrers import referrer
from layercache.sources.registry import RegistrySource
from layercache.tiers import keys
from layercache.tiers.documents import find_document, read_document
from layercache.tiers.tag_origin import is_public
from layercache.transfer.layer_lock import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from layercache.images.hosted import HostedImages
    from layercache.images.opening import Images
    from layercache.images.tags import CachedManifest
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.referrers import Listed
    from layercache.registry.client import RegistryClient
    from layercache.tiers.tier import Tier


class RegistryImages:
    """Manifests, referrers and tags of registries' repositories. Thread-safe.

    What is named ``cached`` asks only tiers; everything else asks the registry, once: the caller
    decides what to do about failures. ``client`` is None offline: then that is a `SourceError`.
    """

    def __init__(
        self, images: Images, tiers: Sequence[Tier], client: Callable[[], RegistryClient] | None
    ) -> None:
        self._images = images
        self._tiers = tiers
        self._client = client

    def hosted(self) -> HostedImages:
        """Images that were pushed to the mirror itself."""
        return self._images.hosted()

    def cached_manifest(self, reference: Reference) -> CachedManifest:
        """What a reference named when it was last pulled. Raises `NotFoundError`, `FormatError`."""
        return self._images.cached_root(reference)

    def manifest(
        self,
        reference: Reference,
        *,
        new: bool,
        public: bool = False,
        client: RegistryClient | None = None,
    ) -> tuple[Descriptor, bytes]:
        """What a reference names at its registry now, which is recorded.

        Only the registry's answer counts, to a HEAD where the document may be cached, or to a GET if it is
        ``new``. ``public``: record that everybody may read it there. ``client``: with other credentials.
        Raises `NotFoundError`, `SourceError`, `FormatError`, `DigestMismatchError`.
        """
        source = RegistrySource(self._asking(client), reference)
        return self._images.root_at(source, reference, new=new, public=public)

    def cached_tags(self, repository: Reference) -> list[str]:
        """As `repositories.cached_tags`."""
        return repositories.cached_tags(self._tiers, repository)

    def tags(self, repository: Reference, client: RegistryClient | None = None) -> list[str]:
        """As `repositories.tags_in_registry`."""
        return repositories.tags_in_registry(self._asking(client), repository)

    def referrers(self, subject: Reference, client: RegistryClient | None = None) -> list[Listed]:
        """What the registry lists as referring to a digest; nothing if it does not know that.

        Raises `SourceError`, `FormatError`.
        """
        from layercache.registry.repository import Repository

        assert subject.digest is not None, "tags have no referrers"
        repository = Repository(self._asking(client), subject.registry, subject.repository)
        return repository.referrers(subject.digest)

    def cached_referrers(self, subject: Reference) -> list[Listed]:
        """What refers to a digest, of the images that were pulled from its repository."""
        found: dict[Digest, Listed] = {}
        for key in self._listed(keys.image_folder(subject.registry, subject.repository)):
            with suppress(NotFoundError, IntegrityError, BackendError):
                image = self._images.cached_root(Reference.parse(keys.image_name(key)))
                if (refers := referrer(image.descriptor, image.data)) and refers[0] == subject.digest:
                    found[image.descriptor.digest] = refers[1]
        return [found[digest] for digest in sorted(found)]

    def cached_repositories(self) -> list[str]:
        """The repositories, each with its registry, of which an image was pulled; sorted."""
        names = {keys.image_name(key) for key in self._listed(keys.IMAGES)}
        return sorted({name.partition("@")[0] if "@" in name else name.rpartition(":")[0] for name in names})

    def recorded(self, repository: Reference, read: Container[str]) -> Iterator[tuple[str, bytes]]:
        """The cached images of a repository, but for those whose keys were ``read``: keys and documents.

        Only trusted tiers are believed that an image is the repository's. Raises `BackendError`.
        """
        folder = keys.image_folder(repository.registry, repository.repository)
        for tier in self._tiers:
            if tier.policy.trusted:
                for key in tier.images.listed(folder):
                    if keys.is_image(key) and key not in read:
                        with suppress(NotFoundError, IntegrityError):
                            yield key, read_document(tier, tier.images.get(key).digest)

    def was_public(self, repository: Reference) -> bool:
        """Whether everybody could read all that is cached of a repository when it was pulled.

        Others were perhaps pulled with credentials, by any program that writes to the tier.
        Only trusted tiers are believed, and if one of them fails nothing is.
        """
        folder, found = keys.image_folder(repository.registry, repository.repository), False
        for tier in sorted(self._tiers, key=lambda tier: not tier.policy.trusted):
            if not (found or tier.policy.trusted):
                return False  # others are not even listed
            try:
                roots = [tier.images.get(key) for key in tier.images.listed(folder) if keys.is_image(key)]
            except (NotFoundError, BackendError):  # one was removed just now, or the tier cannot be read
                if tier.policy.trusted:
                    return False
                continue
            if not all(map(is_public, roots)):
                return False
            found |= tier.policy.trusted and bool(roots)
        return found

    def cached_document(self, name: Digest) -> bytes | None:
        """A manifest, an index or a config from the nearest tier that has it; None if none has."""
        with suppress(IntegrityError, BackendError):
            return find_document(self._tiers, name)
        return None

    def _listed(self, folder: str) -> Iterator[str]:
        """The keys of images in a folder, of every tier that can be listed."""
        for tier in self._tiers:
            with suppress(BackendError):
                yield from (key for key in tier.images.listed(folder) if keys.is_image(key))

    @contextmanager
    def turn(self, reference: Reference) -> Iterator[bool]:
        """Let one process that shares the nearest tier ask for a reference at a time.

        Yields whether another one may have asked in between. It only saves requests: a process that is stuck
        is not waited for.
        """
        name = Digest.of(f"ask {reference}".encode())
        nearest = self._tiers[0].blobs
        with ExitStack() as stack:
            at_once = None
            with suppress(BackendError):
                at_once = stack.enter_context(nearest.lock(name, timeout=0))
            if at_once is None:
                with suppress(BackendError):
                    stack.enter_context(nearest.lock(name, timeout=PATIENCE))
            yield at_once is None

    def client(self) -> RegistryClient:
        """What reaches registries with our own credentials. Raises `SourceError` offline."""
        if self._client is None:
            raise SourceError("no registry is asked: the cache is offline")
        return self._client()

    def _asking(self, client: RegistryClient | None) -> RegistryClient:
        return (client or self.client()).without_retries()
