"""Blobs of hosted repositories: which of them have what, reading and deleting it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import InUseError, NotFoundError
from layercache.oci.descriptor import Descriptor
from layercache.oci.digest import Digest
from layercache.serve.blobs import Blobs
from layercache.serve.messages import Answer, AnyAnswer, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.oci.digest import Hash
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.serve.access import Admitted
    from layercache.serve.held_files import HeldFiles
    from layercache.serve.push.contents import Contents
    from layercache.serve.push.links import Links


class HostedBlobs:
    """Answers ``/v2/<name>/blobs/<digest or diff ID>``. Thread-safe: it has no state.

    A client that pushes asks by HEAD for the diff ID, too, and then leaves out a layer that it would have
    sent compressed. So where pushes are accepted a HEAD finds digests only.
    """

    def __init__(
        self, cache: Cache, contents: Contents, links: Links, files: HeldFiles, *, writable: bool
    ) -> None:
        self._cache = cache
        self._contents = contents
        self._links = links
        self._writable = writable
        self._by_digest = Blobs(cache, _Names(self._recently_known), files)
        self._by_either_name = Blobs(cache, _Names(self._by_diff_id), files)

    def answer(self, admitted: Admitted) -> AnyAnswer:
        """The blob, or parts of it; or what became of deleting it."""
        match admitted.request.method:
            case "DELETE":
                return self._delete(admitted.reference)
            case "HEAD" if self._writable:
                return self._by_digest.answer(admitted)
            case "GET" | "HEAD":
                return self._by_either_name.answer(admitted)
        raise RegistryError(405, "UNSUPPORTED", f"{admitted.request.method} is not supported here")

    def known(self, reference: Reference, name: Hash) -> Descriptor | None:
        """The descriptor of a blob that was uploaded to a repository, or that a manifest there refers to."""
        return self._linked(reference, name) or self._contents.blob(reference.repository, name)

    def _recently_known(self, reference: Reference, name: Hash) -> Descriptor | None:
        """As `known`, for clients that ask for each blob before they push it: not each needs a new list."""
        linked = self._linked(reference, name)
        return linked or self._contents.blob(reference.repository, name, recent=True)

    def _linked(self, reference: Reference, name: Hash) -> Descriptor | None:
        size = self._links.size(reference.repository, name)
        return None if size is None else Descriptor(digest=Digest(name), size=size)

    def _by_diff_id(self, reference: Reference, name: Hash) -> Descriptor | None:
        """As `known`; by a diff ID the blob with that tar inside, as far as the cache knows."""
        if (found := self.known(reference, name)) is not None:
            return found
        try:
            digests = self._cache.get(name).digests
        except NotFoundError:
            return None
        return next(filter(None, (self.known(reference, digest) for digest in digests)), None)

    def _delete(self, reference: Reference) -> Answer:
        """Remove a blob from a repository, and from the cache unless an image or an upload there needs it."""
        repository, digest = reference.repository, reference.digest
        if digest is None or self.known(reference, digest) is None:
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


class _Names:
    """Finds blobs of hosted repositories, which nobody else has, for `Blobs`."""

    def __init__(self, known: Callable[[Reference, Hash], Descriptor | None]) -> None:
        self.known = known

    def find(
        self,
        reference: Reference,
        name: Hash,
        client: RegistryClient | None = None,  # noqa: ARG002  # there is no upstream
    ) -> Descriptor | None:
        return self.known(reference, name)
