"""An image in a registry as a source: the pull side of the OCI distribution-spec."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from layercache.descriptor import Descriptor
from layercache.digest import Digest
from layercache.errors import DigestMismatchError, SourceError
from layercache.sources.blob import BlobReader
from layercache.sources.client import RegistryClient
from layercache.sources.document import (
    DOCUMENT_SIZE_MAX,
    DOCUMENTS,
    check_document,
    described,
    refuse_schema_1,
)
from layercache.sources.http import abandon, discard, read_all, skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3.response import BaseHTTPResponse

    from layercache.reference import Reference

ResultT = TypeVar("ResultT")

__all__ = ["RegistryClient", "RegistrySource"]

_ACCEPT = {"Accept": ", ".join(sorted(DOCUMENTS))}
_HEAD_REFUSED = frozenset({400, 404, 405, 501})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class RegistrySource:
    """One image of a registry. Closing it does nothing: the connections are the client's."""

    def __init__(self, client: RegistryClient, reference: Reference) -> None:
        self._client = client
        self._reference = reference
        self._seen: dict[Digest, bytes] = {}

    @property
    def name(self) -> str:
        return self._reference.name

    def root(self, *, new: bool = False) -> Descriptor:
        """By HEAD, which costs little and does not count against pull limits; else, or where new, by GET."""
        if new:
            return self._ask(self._get_root)
        return self._ask(lambda place: self._head(place) or self._get_root(place))

    def document(self, descriptor: Descriptor) -> bytes:
        data = self._seen.pop(descriptor.digest, None)
        if data is None:
            return self._ask(lambda place: self._document(place, descriptor))
        check_document(data, descriptor, self.name)
        return data

    def open_blob(self, descriptor: Descriptor, start: int = 0) -> BlobReader:
        if not 0 <= start <= descriptor.size:
            raise ValueError(f"no offset {start} in {descriptor.size} bytes")

        served: list[Reference] = []
        stuck_at = -1

        def open_at(offset: int) -> BaseHTTPResponse:
            nonlocal stuck_at
            # A mirror whose stream broke off without a byte of progress is not asked again.
            mirrors, stuck_at = offset != stuck_at, offset
            return self._ask(lambda place: serve(place, offset), mirrors=mirrors)

        def serve(place: Reference, offset: int) -> BaseHTTPResponse:
            response = self._open_at(place, descriptor, offset)
            served.append(place)
            return response

        def refuted(error: DigestMismatchError) -> bool:
            return self._client.mirrors.refute([each for each in served if each != self._reference], error)

        where = f"{self.name}@{descriptor.digest}"
        return BlobReader(descriptor, start, open_at, self._client.retries, where, refuted)

    def close(self) -> None:
        pass

    def _ask(self, action: Callable[[Reference], ResultT], *, mirrors: bool = True) -> ResultT:
        return self._client.mirrors.ask(self._reference, action, mirrors=mirrors)

    def _head(self, place: Reference) -> Descriptor | None:
        """The root, if the answer to HEAD says all that a descriptor needs.

        None too where HEAD is refused: that has no body to say why, so GET has to find out.
        """
        path = f"manifests/{place.selector}"
        response = self._client.request("HEAD", place, path, _ACCEPT, also=_HEAD_REFUSED)
        discard(response)
        if response.status in _HEAD_REFUSED:
            return None
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        refuse_schema_1(media_type, str(place))
        try:
            digest = Digest(response.headers.get("Docker-Content-Digest", ""))
            size = int(response.headers.get("Content-Length", ""))
        except ValueError:
            return None
        if media_type not in DOCUMENTS or digest != (place.digest or digest):
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
        check_document(data, descriptor, place.name)
        return data

    def _get(self, place: Reference, selector: str) -> tuple[bytes, str]:
        """A document, and the media type that it is served as."""
        response = self._client.request("GET", place, f"manifests/{selector}", _ACCEPT)
        data = read_all(response, DOCUMENT_SIZE_MAX, f"the manifest {selector} of {place.name}")
        return data, response.headers.get("Content-Type", "")

    def _open_at(self, place: Reference, descriptor: Descriptor, offset: int) -> BaseHTTPResponse:
        """An answer whose next byte is the one at the offset; the length of its body is right, if stated."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._client.request("GET", place, f"blobs/{descriptor.digest}", headers)
        where = f"{place.name}@{descriptor.digest}"
        begins = 0
        if response.status == 206:
            found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            begins = int(found[1]) if found else -1
            if begins != offset:
                abandon(response)
                raise SourceError(f"{where}: asked for byte {offset} on, the registry sent another range")
        length = response.length_remaining
        if length is not None and length != descriptor.size - begins:
            abandon(response)
            raise DigestMismatchError(
                f"{where} has {begins + length} bytes in its registry instead of the {descriptor.size} stated"
            )
        skip(response, offset - begins, where)
        return response
