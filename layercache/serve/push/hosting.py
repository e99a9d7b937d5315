"""The mirror as a registry of hosted repositories: which those are, and what answers for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.images.hosted import HOSTED
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.oci.digest import Digest
from layercache.serve.messages import READS, AnyAnswer, RegistryError
from layercache.serve.push.blobs import HostedBlobs
from layercache.serve.push.contents import Contents
from layercache.serve.push.discovery import Discovery
from layercache.serve.push.intake import BlobIntake
from layercache.serve.push.links import Links
from layercache.serve.push.manifests import HostedManifests
from layercache.serve.push.mounts import Mounts
from layercache.serve.push.names import HostedNames
from layercache.serve.push.sessions import Sessions
from layercache.serve.push.uploads import Uploads
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Hash
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.serve.access import Admitted
    from layercache.serve.held_files import HeldFiles
    from layercache.serve.messages import Request
    from layercache.serve.referrals import Referrals
    from layercache.serve.routes import Route
    from layercache.serve.settings import ServeSettings


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
        files: HeldFiles,
    ) -> None:
        self.writable = settings.writable
        self._referrals = referrals
        images = cache.registry_images().hosted()
        folder = _folder(cache, settings)
        links = Links(os.path.join(folder, "repositories"), age=settings.upload_age)
        sessions = Sessions(os.path.join(folder, "blobs"), age=settings.upload_age, most=settings.max_uploads)
        self.names = HostedNames(settings, images, links)
        contents = Contents(images)
        self._blobs = HostedBlobs(cache, contents, links, files, writable=settings.writable)
        intake = BlobIntake(cache, images, links)
        uploads = Uploads(sessions, intake, Mounts(self.find, admit), limit=settings.max_upload_size)
        manifests = HostedManifests(cache, images, contents, self._blobs, limit=DOCUMENT_MAX)
        discovery = Discovery(images, contents)
        self._pushes: dict[str, Callable[[Admitted], AnyAnswer]] = {
            "upload": uploads.answer,
            "manifest": manifests.answer,
            "blob": self._blobs.answer,
        }
        self._lists: dict[str, Callable[[Admitted], AnyAnswer]] = {
            "tags": discovery.tags,
            "referrers": discovery.referrers,
        }

    def answer(self, admitted: Admitted) -> AnyAnswer:
        """The answer to a request for a hosted repository, or a push to it."""
        kind, method = admitted.route.kind, admitted.request.method
        if kind in self._pushes:
            return self._pushes[kind](admitted)
        if kind not in self._lists:
            raise RegistryError(404, "NOT_FOUND", f"no such path: {admitted.request.path[:200]}")
        if method not in READS:
            raise RegistryError(405, "UNSUPPORTED", f"{method} is not supported here")
        return self._lists[kind](admitted)

    def find(
        self, reference: Reference, name: Hash, client: RegistryClient | None = None
    ) -> Descriptor | None:
        """The descriptor of a blob of any repository, an upstream's or hosted."""
        if reference.registry == HOSTED:
            return self._blobs.known(reference, name)
        return self._referrals.find(reference, name, client)


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

    Raises `ConfigError` where there is neither, or it cannot be created.
    """
    found = settings.uploads
    for tier in cache.tiers:
        if found is None and not tier.policy.readonly and (path := tier.blobs.path(Digest.of(b""))):
            found = str(Path(path).parents[2] / keys.UPLOADS)
    if found is None:
        raise ConfigError(
            "pushes need a folder on this machine, and no tier is one",
            hint='set it in [serve]: uploads = "/var/lib/layercache/uploads"',
        )
    if settings.writable:
        try:
            os.makedirs(found, 0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"uploads: {found} cannot be created: {error.strerror}") from error
    return found
