"""A blob of a repository of which only its name is known: the registry states its size, or its bytes do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, SourceError
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.registry.download import BlobReader
from layercache.registry.encoding import is_encoded
from layercache.registry.http import abandon
from layercache.registry.ranges import (
    REFUSED,
    Blob,
    Part,
    judged,
    open_part,
    open_range,
    plain,
    range_header,
    stated_size,
)
from layercache.registry.retry import TransientError
from layercache.statistics.places import Place
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from urllib3.response import BaseHTTPResponse

    from layercache.oci.digest import Hash
    from layercache.registry.client import RegistryClient
    from layercache.registry.ranges import Get


class StoredBlob:
    """The way to its bytes. ``get`` asks for it, ``head`` for its size, as far as that is stated."""

    def __init__(
        self, client: RegistryClient, get: Get, head: Callable[[], int | None], name: Hash, where: str
    ) -> None:
        self._client = client
        self._get = get
        self._head = head
        self._blob = Blob(name, 0, where)
        self._first: BytesReader | BaseHTTPResponse | None = None

    @property
    def slots(self) -> threading.Semaphore:
        return self._client.slots

    def open(self, start: int, end: int | None = None) -> BlobReader:
        """The bytes from ``start`` to ``end`` (exclusive); what lies past the blob's end is not there."""
        headers = _range_from(start, end)
        size = self._size(self._get(headers, REFUSED if headers else frozenset()))
        self._blob = self._blob._replace(size=size, end=end)
        if start >= self._blob.stop and self._first is not None:
            self._first.close()
        return BlobReader(self._blob, min(start, size), self, self._client.retries)

    def open_at(self, offset: int, *, ranges: bool = True) -> Part:
        first, self._first = self._first, None
        try:
            if isinstance(first, BytesReader):
                return Part(first, 0, self._blob.size)
            return (first and judged(first, self._blob, offset)) or self._part(offset, ranges=ranges)
        except DigestMismatchError as error:  # another size than before
            raise SourceError(error.message) from error

    def _part(self, offset: int, *, ranges: bool) -> Part:
        try:
            return open_part(self._get, self._blob, offset, ranges=ranges)
        except TransientError as error:
            if error.limited or not self._blob.is_part(offset) or not ranges:
                raise
            return open_part(self._get, self._blob, offset, ranges=False)

    def open_range(self, begin: int, end: int) -> BaseHTTPResponse | None:
        return open_range(self._get, self._blob, begin, end)

    @property
    def place(self) -> Place:
        return Place.of_tier(self._blob.where)

    def refute(self, error: DigestMismatchError) -> bool:  # noqa: ARG002 # there is no other place
        return False

    def _size(self, response: BaseHTTPResponse) -> int:
        """How many bytes the blob has; what came is kept for `open_at`, if it is of use."""
        size = stated_size(response)
        if response.status in REFUSED or (response.status == 206 and size is None):
            abandon(response)
            if (stated := self._head()) is not None:
                return stated
            response = self._get({}, frozenset())
            size = stated_size(response)
        self._first = response
        if size is None:
            # A big one is as big as HEAD states; a small one is counted.
            size = self._head()
            if size is not None and size > DOCUMENT_MAX:
                return size
        elif size > DOCUMENT_MAX or response.status == 206 or not is_encoded(response):
            return size
        self._first = BytesReader(plain(response, self._blob.name, self._blob.where))
        return self._first.size


def _range_from(start: int, end: int | None) -> dict[str, str]:
    """The header for a blob of unknown size: only where an end is given can the range be closed."""
    if end is not None:
        # No header asks for no bytes. One byte finds out as well whether the blob is there.
        return range_header(start, max(end, start + 1))
    return {"Range": f"bytes={start}-"} if start else {}
