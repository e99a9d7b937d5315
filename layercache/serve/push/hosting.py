"""The mirror as the registry of its own repositories: which those are, and who answers for them."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import ConfigError, InUseError, NotFoundError
from layercache.images.hosted import HOSTED
from layercache.oci.descriptor import DOCUMENT_MAX, Descriptor
from layercache.oci.digest import Digest
from layercache.serve.blobs import Blobs
from layercache.serve.messages import Answer, AnyAnswer, RegistryError
from layercache.serve.push.contents import Contents
from layercache.serve.push.discovery import Discovery
from layercache.serve.push.intake import BlobIntake
from layercache.serve.push.links import Links
from layercache.serve.push.manifests import HostedManifests
from layercache.serve.push.mounts import Mounts
from layercache.serve.push.names import HostedNames
from layercache.serve.push.sessions import Sessions
from layercache.serve.push.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.oci.digest import Hash
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Request
    from layercache.serve.referrals import Referrals
    from layercache.serve.routes import Route
    from layercache.serve.settings import ServeSettings

READS = ("GET", "HEAD")


class Hosting:
    """Answers for hosted repositories. Thread-safe, as all its parts are.

    ``referrals``: of the upstreams' repositories. ``admit`` decides whether a client may read what it wants
    to mount from another repository. Raises `ConfigError` where there is no place for uploads.
    """

    def __init__(
        self,
        cache: Cache,
        settings: ServeSettings,
        referrals: Referrals,
        admit: Callable[[Request, Route], Admitted],
    ) -> None:
        self._cache = cache
        self.writable = settings.writable
        self._referrals = referrals
        images = cache.registry_images().hosted()
        folder = _folder(cache, settings)
        self._links = Links(os.path.join(folder, "repositories"), age=settings.upload_age)
        sessions = Sessions(os.path.join(folder, "blobs"), age=settings.upload_age, most=settings.max_uploads)
        self.names = HostedNames(settings, images, self._links)
        self._contents = Contents(images)
        self._blobs = Blobs(cache, self)
        intake = BlobIntake(cache, images, self._links)
        self._uploads = Uploads(sessions, intake, Mounts(self, admit), limit=settings.max_upload_size)
        self._manifests = HostedManifests(cache, images, self._contents, self, limit=DOCUMENT_MAX)
        self._discovery = Discovery(images, self._contents)

    def answer(self, admitted: Admitted) -> AnyAnswer:
        """The answer to a request for a hosted repository, or a push to it."""
        kind, method = admitted.route.kind, admitted.request.method
        if kind == "upload":
            return self._uploads.answer(admitted)
        if kind == "manifest":
            return self._manifests.answer(admitted)
        if kind == "blob" and method == "DELETE":
            return self._delete_blob(admitted.reference)
        if method not in READS:
            raise RegistryError(405, "UNSUPPORTED", f"{method} is not supported here")
        match kind:
            case "blob":
                return self._blobs.answer(admitted)
            case "tags":
                return self._discovery.tags(admitted)
            case "referrers":
                return self._discovery.referrers(admitted)
        raise RegistryError(404, "NOT_FOUND", f"no such path: {admitted.request.path[:200]}")

    def known(self, reference: Reference, name: Hash) -> Descriptor | None:
        """As `find`, without asking an upstream."""
        return (
            self._referrals.known(reference, name)
            if reference.registry != HOSTED
            else self.find(reference, name)
        )

    def find(
        self, reference: Reference, name: Hash, client: RegistryClient | None = None
    ) -> Descriptor | None:
        """The descriptor of a blob that a repository has: since it was uploaded to it, or a manifest there
        refers to it. By a diff ID the blob with that tar inside, as far as the cache knows. Else None.
        """
        if reference.registry != HOSTED:
            return self._referrals.find(reference, name, client)
        if (found := self._blob(reference, name)) is not None:
            return found
        try:
            digests = self._cache.get(name).digests
        except NotFoundError:
            return None
        return next(filter(None, (self._blob(reference, digest) for digest in digests)), None)

    def _blob(self, reference: Reference, name: Hash) -> Descriptor | None:
        if (size := self._links.size(reference.repository, name)) is not None:
            return Descriptor(digest=Digest(name), size=size)
        return self._contents.blob(reference.repository, name)

    def _delete_blob(self, reference: Reference) -> Answer:
        """Remove a blob from a repository, and from the cache unless an image or an upload there needs it."""
        repository, digest = reference.repository, reference.digest
        if digest is None or self.find(reference, digest) is None:
            raise RegistryError(404, "BLOB_UNKNOWN", f"{repository} has no such blob")
        if self._contents.blob(repository, digest) is not None:
            raise RegistryError(
                405, "DENIED", f"a manifest of {repository} refers to {digest}: delete that first"
            )
        self._links.remove(repository, digest)
        if not self._links.is_linked(digest):
            with suppress(InUseError, NotFoundError):
                self._cache.delete(digest, all_tiers=True)
        return Answer(202)


def is_hosted(admitted: Admitted) -> bool:
    """Whether a request is for a hosted repository."""
    return admitted.whole is not None and admitted.whole.registry == HOSTED


def hosted_by(hosting: Hosting | None) -> Hosting:
    """What answers for hosted repositories. Raises `RegistryError` where the mirror hosts none."""
    if hosting is None:
        raise RegistryError(404, "NAME_UNKNOWN", "this mirror hosts no repositories")
    return hosting


def require_hosted(hosting: Hosting | None, request: Request, route: Route) -> None:
    """Raise `RegistryError` for a change of what is not hosted, before anybody is asked about it."""
    if hosting is None or not hosting.writable or not route.name:
        raise RegistryError(405, "UNSUPPORTED", f"{request.method} is not supported here")
    if not hosting.names.is_hosted(request, route.name):
        raise RegistryError(
            405, "UNSUPPORTED", f"{route.name} is only cached from its registry: nothing can be changed here"
        )


def _folder(cache: Cache, settings: ServeSettings) -> str:
    """The folder of uploads: the one that is set, else one in the nearest tier that is a folder.

    Raises `ConfigError` where there is neither.
    """
    if settings.uploads is not None:
        return settings.uploads
    for tier in cache.tiers:
        if (path := tier.blobs.path(Digest.of(b""))) is not None and not tier.policy.readonly:
            return os.path.join(os.path.dirname(path), os.pardir, os.pardir, "uploads")
    raise ConfigError(
        "uploads need a folder on this machine, and no tier is one",
        hint='set it: uploads = "/var/lib/layercache/uploads" in [serve]',
    )
