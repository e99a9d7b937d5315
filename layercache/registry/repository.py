"""One repository of a registry, to read and to write: what of the OCI distribution-spec a cache needs.

Answers are returned as they are; the caller checks hashes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from layercache.errors import NotFoundError, SourceError
from layercache.oci.descriptor import NOT_VALID, OCI_INDEX
from layercache.oci.documents import DOCUMENTS
from layercache.oci.reference import Reference
from layercache.oci.referrers import ENTRIES_MAX, entries_of, fallback_tag
from layercache.registry.encoding import is_encoded
from layercache.registry.http import abandon, discard, read_all
from layercache.registry.ranges import HEAD_REFUSED, content_length
from layercache.registry.stored import StoredBlob
from layercache.registry.upload import Upload
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from urllib3.response import BaseHTTPResponse

    from layercache.oci.digest import Digest, Hash
    from layercache.oci.referrers import Listed
    from layercache.registry.client import RegistryClient
    from layercache.registry.download import BlobReader
    from layercache.registry.upload import Bytes

TAGS_PER_PAGE = 1000
PAGES_MAX = 10_000
"""Pages of tags that are asked for at most: each names the next, so that there need not be a last one."""
TAGS_SIZE_MAX = 64 << 20
"""Maximum bytes of one page of tags: docker-registry returns all of them in one."""

REFERRERS_PAGES_MAX = 100
NO_REFERRERS = frozenset({400, 404, 405, 501})
"""Statuses with which registries answer that have no list of referrers."""

_ACCEPT = {"Accept": ", ".join(sorted(DOCUMENTS))}
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


def _is_registrys(head: BaseHTTPResponse) -> bool:
    """Whether a registry has sent this itself, by its headers: the version of its API, and JSON as its body.

    The header alone does not show it: nginx, set up as the registry's manual says, adds it to its own errors.
    """
    version, kind = (
        head.headers.get(each, "") for each in ("Docker-Distribution-Api-Version", "Content-Type")
    )
    return version.startswith("registry/2") and kind.startswith("application/json")


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Repository:
    """Blobs, manifests and tags of one repository. Thread-safe; the connections are the client's.

    Failures are `SourceError`, absence is `NotFoundError`, only if the registry itself reports it.
    """

    def __init__(self, client: RegistryClient, registry: str, repository: str) -> None:
        self._client = client
        # A reference checks both parts, and names them in messages.
        self._reference = Reference(registry, repository, "latest")
        self.registry = registry
        self.repository = repository

    @property
    def name(self) -> str:
        return self._reference.name

    # Blobs

    def blob_size(self, name: Hash) -> int:
        """Bytes of a blob, as HEAD states them, else as a GET does that is not read on."""
        size = self._stated_size(name)
        if size is None:
            response = self._run("GET", f"blobs/{name}")
            abandon(response)
            size = content_length(response)
        if size is None:
            raise SourceError(f"{self.name}@{name}: the registry does not state its size")
        return size

    def has_blob(self, name: Hash) -> bool:
        try:
            if self._head(name) is None:
                abandon(self._run("GET", f"blobs/{name}"))
        except NotFoundError:
            return False
        return True

    def _stated_size(self, name: Hash) -> int | None:
        """As HEAD states it; None where it does not, or states nothing at all, which may well be wrong."""
        head = self._head(name)
        return None if head is None or is_encoded(head) else content_length(head) or None

    def _head(self, name: Hash) -> BaseHTTPResponse | None:
        """None if HEAD is refused: a 404 without a body does not say why, so GET decides.

        Raises `NotFoundError` for a 404 whose headers say that a registry has sent it.
        """
        head = self._run("HEAD", f"blobs/{name}", also=HEAD_REFUSED)
        discard(head)
        if head.status == 404 and _is_registrys(head):
            raise NotFoundError(f"{self.name}@{name} is not in its registry")
        return None if head.status in HEAD_REFUSED else head

    def open_blob(self, name: Hash, start: int = 0, end: int | None = None) -> BlobReader:
        """Read bytes ``start`` to ``end`` (exclusive) of a blob, as `Backend.open`.

        That is one GET, if its answer states the size of the blob.
        """

        def get(headers: dict[str, str], also: frozenset[int]) -> BaseHTTPResponse:
            return self._run("GET", f"blobs/{name}", headers, also=also)

        where = f"{self.name}@{name}"
        return StoredBlob(self._client, get, lambda: self._stated_size(name), name, where).open(start, end)

    def push(
        self,
        name: Hash,
        reader: Bytes,
        *,
        mount_from: str = "",
        follow: Callable[[Upload], object] = lambda _: None,
    ) -> int | None:
        """Push a blob, read from its start; return how many bytes were sent.

        ``mount_from`` is another repository of the registry that may have it: then none are, and it is None.
        ``follow`` is called with the upload, which knows how far it is.
        """
        upload = Upload(self._run, self._client.retries, name, self.name)
        follow(upload)
        return upload.send(reader, mount_from)

    def delete_blob(self, name: Hash) -> None:
        self._delete(f"blobs/{name}", f"the blob {name}")

    # Manifests

    def manifest(self, selector: str, limit: int | None = None) -> tuple[bytes, str]:
        """The document of a tag or digest, and the media type that it is served as.

        ``limit``: its bytes at most, by default those of any document. Raises `TooBigError` for more.
        """
        response = self._run("GET", f"manifests/{selector}", _ACCEPT)
        data = read_all(
            response,
            limit or self._client.settings.max_document_size,
            f"the manifest {selector} of {self.name}",
        )
        return data, response.headers.get("Content-Type", "")

    def put_manifest(self, selector: str, data: bytes, media_type: str) -> None:
        """Raises `MissingPartError` where the repository lacks what the manifest names."""
        if not selector.startswith(("sha256:", "sha512:")):
            Reference(self.registry, self.repository, selector)  # the grammar, before anything is sent
        discard(self._run("PUT", f"manifests/{selector}", {"Content-Type": media_type}, data))

    def delete_manifest(self, digest: Hash) -> None:
        """Remove a manifest and all its tags; no error if it is not there."""
        self._delete(f"manifests/{digest}", f"the manifest {digest}")

    def tags(self) -> Iterator[str]:
        """Every tag, in the registry's order, page by page; none if the repository does not exist."""
        path = f"tags/list?n={TAGS_PER_PAGE}"
        for _ in range(PAGES_MAX):
            try:
                response = self._run("GET", path)
            except NotFoundError:
                return
            data = read_all(response, TAGS_SIZE_MAX, f"the tags of {self.name}")
            try:
                yield from (json_decoder(_Tags | None).decode(data) or _Tags()).tags or ()
            except NOT_VALID as error:
                raise SourceError(f"the tags of {self.name} are not a valid list: {error}") from error
            following = _NEXT.search(response.headers.get("Link", ""))
            if not following or following[1] == path:
                return
            path = following[1]
        raise SourceError(f"the tags of {self.name} come on more than {PAGES_MAX} pages")

    def referrers(self, subject: Digest) -> list[Listed]:
        """What refers to a manifest, in the registry's order; nothing if the registry does not know that.

        A registry without the API is asked for the tag that stands in for it. Raises `FormatError`.
        """
        found: list[Listed] = []
        what, path = f"the list of what refers to {self.name}@{subject}", f"referrers/{subject}"
        for _ in range(REFERRERS_PAGES_MAX):
            response = self._run("GET", path, {"Accept": OCI_INDEX}, also=NO_REFERRERS)
            if response.status in NO_REFERRERS:
                discard(response)
                return self._referrers_by_tag(subject, what)
            limit = self._client.settings.max_document_size
            page = entries_of(read_all(response, limit, what), what)
            found += page
            following = _NEXT.search(response.headers.get("Link", ""))
            if not following or len(found) >= ENTRIES_MAX:
                break
            path = following[1]
        return found[:ENTRIES_MAX]

    def _referrers_by_tag(self, subject: Digest, what: str) -> list[Listed]:
        try:
            data, _ = self.manifest(fallback_tag(subject))
        except NotFoundError:
            return []
        return entries_of(data, what)

    def _run(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        also: frozenset[int] = frozenset(),
        again: bool = True,
    ) -> BaseHTTPResponse:
        """One request. ``again``: tried again where that may help, not only where nothing was done of it."""

        def ask() -> BaseHTTPResponse:
            return self._client.request(method, self._reference, path, headers or {}, body=body, also=also)

        return self._client.retries.run(ask, limited_only=not again)

    def _delete(self, path: str, what: str) -> None:
        try:
            response = self._run("DELETE", path, also=frozenset({405}))
        except NotFoundError:
            return
        discard(response)
        if response.status == 405:
            raise SourceError(
                f"{self.registry} does not allow {what} to be deleted",
                looked_in=[self.name],
                hint="deleting is switched off there (docker-registry: storage.delete.enabled)",
            )
