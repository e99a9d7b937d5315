"""An image in a registry as a source: the pull side of the OCI distribution-spec."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from layercache.oci.descriptor import OCTETS, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.documents import DOCUMENTS, check_document, described, refuse_schema_1
from layercache.registry.client import RegistryClient
from layercache.registry.download import BlobReader
from layercache.registry.encoding import is_encoded
from layercache.registry.http import discard, read_all
from layercache.registry.ranges import HEAD_REFUSED, RANGE_TRIES, Blob, open_part, open_range
from layercache.registry.repository import Repository
from layercache.value import replace

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from urllib3.response import BaseHTTPResponse

    from layercache.errors import DigestMismatchError
    from layercache.oci.reference import Reference
    from layercache.registry.ranges import Get, Part
    from layercache.statistics.places import Place

ResultT = TypeVar("ResultT")

__all__ = ["RegistryClient", "RegistrySource"]

_ACCEPT = {"Accept": ", ".join(sorted(DOCUMENTS))}


class RegistrySource:
    """One image of a registry. Closing it does nothing: the connections are the client's."""

    def __init__(self, client: RegistryClient, reference: Reference) -> None:
        self._client = client
        self._reference = reference
        self._seen: dict[Digest, bytes] = {}

    @property
    def name(self) -> str:
        return self._reference.name

    @property
    def place(self) -> Place:
        return self._client.mirrors.place(self._reference, self._reference)

    def root(self, *, new: bool = False) -> Descriptor:
        """Ask by HEAD, which does not count against pull limits; by GET if that fails, or for a new image."""
        if new:
            return self._ask(self._get_root)
        return self._ask(lambda place: self._head(place) or self._get_root(place))

    def references(self) -> list[Reference]:
        return [self._reference]

    def document(self, descriptor: Descriptor) -> bytes:
        data = self._seen.pop(descriptor.digest, None)
        if data is None:
            return self._ask(lambda place: self._document(place, descriptor))
        check_document(descriptor.digest, data, self.name)
        return data

    def open_blob(self, descriptor: Descriptor, start: int = 0, end: int | None = None) -> BlobReader:
        if not 0 <= start <= descriptor.size:
            raise ValueError(f"no offset {start} in {descriptor.size} bytes")
        blob = Blob(descriptor.digest, descriptor.size, f"{self.name}@{descriptor.digest}", end)
        return BlobReader(blob, start, _Way(self._client, self._reference, blob), self._client.retries)

    def close(self) -> None:
        pass

    def _ask(self, action: Callable[[Reference], ResultT], *, mirrors: bool = True) -> ResultT:
        return self._client.mirrors.ask(self._reference, action, mirrors=mirrors)

    def _head(self, place: Reference) -> Descriptor | None:
        """The root, if the answer to HEAD has everything that a descriptor needs.

        None also if HEAD is refused, or the body is encoded: then GET is needed. The size is only what the
        registry states.
        """
        path = f"manifests/{place.selector}"
        response = self._client.request("HEAD", place, path, _ACCEPT, also=HEAD_REFUSED)
        discard(response)
        if response.status in HEAD_REFUSED:
            return None
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        refuse_schema_1(media_type, str(place))
        try:
            digest = Digest(response.headers.get("Docker-Content-Digest", ""))
            size = int(response.headers.get("Content-Length", ""))
        except ValueError:
            return None
        if (
            media_type not in DOCUMENTS
            or digest != (place.digest or digest)
            or size <= 0
            or is_encoded(response)
        ):
            return None
        return Descriptor(media_type=media_type, digest=digest, size=size)

    def _get_root(self, place: Reference) -> Descriptor:
        data, stated = self._get(place, place.selector)
        descriptor = described(data, stated, place.digest, str(place))
        self._seen[descriptor.digest] = data
        return descriptor

    def _document(self, place: Reference, descriptor: Descriptor) -> bytes:
        data, stated = self._get(place, descriptor.digest)
        described(data, stated, descriptor.digest, place.name)
        return data

    def _get(self, place: Reference, selector: str) -> tuple[bytes, str]:
        """A document, and the media type that it is served as."""
        response = self._client.request("GET", place, f"manifests/{selector}", _ACCEPT)
        data = read_all(
            response, self._client.settings.max_document_size, f"the manifest {selector} of {place.name}"
        )
        return data, response.headers.get("Content-Type", "")


class RepositoryBlob:
    """A blob of a repository, without an image. ``size`` None: not stated, the registry is asked for it."""

    def __init__(
        self, client: RegistryClient, repository: Reference, digest: Digest, size: int | None
    ) -> None:
        self._client = client
        self._source = RegistrySource(client, replace(repository, tag=None, digest=digest))
        self._repository = repository
        self._digest = digest
        self._size = size

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def place(self) -> Place:
        return self._source.place

    def open(self, start: int, end: int | None = None) -> BlobReader:
        if self._size is None:
            self._size = self.stat()
        stated = Descriptor(media_type=OCTETS, digest=self._digest, size=self._size)
        return self._source.open_blob(stated, start, end)

    def stat(self) -> int:
        """Bytes of the blob as the registry states them, by a HEAD."""
        where = self._repository
        return Repository(self._client, where.registry, where.repository).blob_size(self._digest)


class _Way:
    """A blob of an image, at the registry or its mirrors."""

    def __init__(self, client: RegistryClient, reference: Reference, blob: Blob) -> None:
        self._client = client
        self._reference = reference
        self._blob = blob
        self._served: list[Reference] = []
        self._stuck_at = -1

    @property
    def slots(self) -> threading.Semaphore:
        return self._client.slots

    def open_at(self, offset: int, *, ranges: bool = True) -> Part:
        # A mirror whose stream broke off without a byte of progress is not asked again.
        mirrors, self._stuck_at = offset != self._stuck_at, offset

        asked: Counter[str] = Counter()

        def serve(place: Reference) -> Part:
            blob = self._blob._replace(where=f"{place.name}@{self._blob.name}")
            asked[place.name] += 1
            by_range = ranges and asked[place.name] <= RANGE_TRIES
            part = open_part(self._at(place), blob, offset, ranges=by_range)
            self._served.append(place)
            return part

        return self._client.mirrors.ask(self._reference, serve, mirrors=mirrors)

    def open_range(self, begin: int, end: int) -> BaseHTTPResponse | None:
        return open_range(self._at(self._served[-1]), self._blob, begin, end)

    @property
    def place(self) -> Place:
        """Where the last bytes came from."""
        asked = self._reference
        return self._client.mirrors.place(asked, self._served[-1] if self._served else asked)

    def refute(self, error: DigestMismatchError) -> bool:
        return self._client.mirrors.refute([each for each in self._served if each != self._reference], error)

    def _at(self, place: Reference) -> Get:
        path = f"blobs/{self._blob.name}"
        return lambda headers, also: self._client.request("GET", place, path, headers, also=also)
