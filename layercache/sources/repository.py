"""One repository of a registry, to read and to write: what of the OCI distribution-spec a cache needs.

What is here is asked by name and answered as it is; hashes are for the caller to check.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from layercache.descriptor import NOT_VALID, Descriptor
from layercache.digest import Digest
from layercache.errors import NotFoundError, SourceError
from layercache.reference import Reference
from layercache.sources.blob import BlobReader
from layercache.sources.document import DOCUMENT_SIZE_MAX, DOCUMENTS
from layercache.sources.http import abandon, discard, read_all, skip
from layercache.sources.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.response import BaseHTTPResponse

    from layercache.digest import Hash
    from layercache.sources.client import RegistryClient
    from layercache.sources.upload import Bytes

PAGE = 1000
TAGS_SIZE_MAX = 64 << 20
"""Bytes of one page of tags at most: docker-registry gives all of them in one."""

_ACCEPT = {"Accept": ", ".join(sorted(DOCUMENTS))}
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Repository:
    """Blobs, manifests and tags of one repository. Thread-safe; the connections are the client's.

    Failures are `SourceError`, absence is `NotFoundError`, and only where the registry says so.
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
        """Bytes of a blob, by HEAD. Its 404 has no body to say why: then by a GET that is not read on."""
        path = f"blobs/{name}"
        head = self._run("HEAD", path, also=frozenset({404}))
        discard(head)
        response = head if head.status != 404 else self._run("GET", path)
        size = _content_length(response)
        if response is not head:
            abandon(response)
        if size is None:
            raise SourceError(f"{self.name}@{name}: the registry does not state its size")
        return size

    def has_blob(self, name: Hash) -> bool:
        try:
            self.blob_size(name)
        except NotFoundError:
            return False
        return True

    def open_blob(self, name: Hash, start: int = 0) -> BlobReader:
        """A blob's bytes from an offset on; at the end, or past it, none. One GET."""
        first: list[BaseHTTPResponse] = []
        response = self._get_from(name, start)
        size = _whole_size(response, start)
        if size is None or response.status == 416:
            abandon(response)
            size = self.blob_size(name)
            start = min(start, size)
        else:
            first.append(response)

        def open_at(offset: int) -> BaseHTTPResponse:
            answer = first.pop() if first else self._get_from(name, offset)
            return self._at(answer, name, offset, size)

        descriptor = Descriptor(digest=Digest(name), size=size)
        return BlobReader(descriptor, start, open_at, self._client.retries, f"{self.name}@{name}")

    def push(self, name: Hash, reader: Bytes, *, mount_from: str = "") -> int | None:
        """Bring a blob in, read from its start; how many bytes were sent.

        ``mount_from`` is another repository of the registry that may have it: then none are, and it is None.
        """
        return Upload(self._run, self._client.retries, name, self.name).send(reader, mount_from)

    def delete_blob(self, name: Hash) -> None:
        self._delete(f"blobs/{name}", f"the blob {name}")

    # Manifests

    def manifest(self, selector: str) -> tuple[bytes, str]:
        """The document of a tag or digest, and the media type that it is served as."""
        response = self._run("GET", f"manifests/{selector}", _ACCEPT)
        data = read_all(response, DOCUMENT_SIZE_MAX, f"the manifest {selector} of {self.name}")
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
        """Every tag, in the registry's own order and pages; none where there is no such repository."""
        path = f"tags/list?n={PAGE}"
        while path:
            try:
                response = self._run("GET", path)
            except NotFoundError:
                return
            data = read_all(response, TAGS_SIZE_MAX, f"the tags of {self.name}")
            try:
                yield from msgspec.json.decode(data, type=_Tags).tags or ()
            except NOT_VALID as error:
                raise SourceError(f"the tags of {self.name} are no such list: {error}") from error
            following = _NEXT.search(response.headers.get("Link", ""))
            path = following[1] if following and following[1] != path else ""

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
        """One request; ``again``: tried anew where that may help."""

        def ask() -> BaseHTTPResponse:
            return self._client.request(method, self._reference, path, headers or {}, body=body, also=also)

        return self._client.retries.run(ask) if again else ask()

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

    def _get_from(self, name: Hash, offset: int) -> BaseHTTPResponse:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return self._run("GET", f"blobs/{name}", headers, also=frozenset({416}) if offset else frozenset())

    def _at(self, response: BaseHTTPResponse, name: Hash, offset: int, size: int) -> BaseHTTPResponse:
        """The answer whose next byte is the one at the offset, of a blob of this size."""
        where = f"{self.name}@{name}"
        found = _RANGE.match(response.headers.get("Content-Range", ""))
        begins = int(found[1]) if found and response.status == 206 else 0
        if response.status == 416 or (begins != offset and begins) or _whole_size(response, offset) != size:
            abandon(response)
            raise SourceError(
                f"{where}: asked for byte {offset} of {size} on, the registry sent something else"
            )
        if begins != offset:
            skip(response, offset, where)
        return response


def _content_length(response: BaseHTTPResponse) -> int | None:
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isascii() and stated.isdigit() else None


def _whole_size(response: BaseHTTPResponse, start: int) -> int | None:
    """Bytes of the whole blob, as an answer to a request from an offset on states it."""
    if response.status != 206:
        return _content_length(response)
    found = _RANGE.match(response.headers.get("Content-Range", ""))
    length = _content_length(response)
    return int(found[2]) if found else None if length is None else start + length
