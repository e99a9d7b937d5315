"""The rest of a blob, from an offset on: how it is asked for, and what the answer is worth.

Ranges are closed (``bytes=N-LAST``): some registries answer an open one with 416. A server may send
the whole blob (RFC 9110, 14.2) or another part (15.3.7), and not every one says which. If an answer cannot be
used, the whole blob is requested, and bytes before the offset are discarded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

from layercache.errors import DigestMismatchError
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.registry.encoding import decoded, is_encoded
from layercache.registry.http import abandon, read_raw
from layercache.registry.retry import TransientError
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

    from layercache.oci.digest import Hash

PART_MIN = 16 << 10
"""Bytes of a smaller part than was asked for, or between two breaks, that are worth another request."""

RANGE_TRIES = 2
"""Failures that may pass after which the blob is asked for without a range: it may be what makes them."""

REFUSED = frozenset({400, 403, 405, 406, 412, 416, 417, 501})
"""Statuses of a request with a range to which one without may be answered otherwise."""

HEAD_REFUSED = frozenset(range(400, 600)) - {429}
"""Statuses of a HEAD after which GET is asked, which may work and else has the reason in its body.

Not where requests are limited: a HEAD does not count against pull limits, a GET does.
"""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class Get(Protocol):
    """Asks one place for a blob: an answer of status 2xx, or of one in ``also``."""

    def __call__(self, headers: dict[str, str], also: frozenset[int], /) -> BaseHTTPResponse: ...


class Part(NamedTuple):
    """Bytes of a blob from ``begin``, perhaps before the wanted offset, to ``end``."""

    body: BaseHTTPResponse | BytesReader
    begin: int
    end: int


class Blob(NamedTuple):
    """What is asked for: its name, how many bytes it has, and how messages call it and its place.

    ``end``: where the wanted bytes end (exclusive); None: with the blob.
    """

    name: Hash
    size: int
    where: str
    end: int | None = None

    @property
    def stop(self) -> int:
        """Where the wanted bytes end, as far as the blob has them."""
        return self.size if self.end is None else min(self.end, self.size)

    def is_part(self, offset: int) -> bool:
        """Whether the wanted bytes from an offset on are less than the blob."""
        return offset > 0 or self.stop < self.size


def open_part(get: Get, blob: Blob, offset: int, *, ranges: bool = True) -> Part:
    """The wanted bytes of a blob from an offset on, by a range if possible. Raises as ``get`` and `whole`."""
    if ranges and blob.is_part(offset):
        response = get(range_header(offset, blob.stop), REFUSED)
        if (part := judged(response, blob, offset)) is not None:
            return part
    return whole(get({}, frozenset()), blob)


def open_range(get: Get, blob: Blob, begin: int, end: int) -> BaseHTTPResponse | None:
    """Exactly these bytes; None if the server sends anything else."""
    response = get(range_header(begin, end), REFUSED)
    if response.status == 206 and _covered(response, blob.size) == (begin, end):
        return response
    abandon(response)
    return None


def judged(response: BaseHTTPResponse, blob: Blob, offset: int) -> Part | None:
    """The usable part of an answer to a request for the bytes from an offset on; None if there is none."""
    if response.status not in REFUSED and response.status != 206:
        return whole(response, blob)
    covered = _covered(response, blob.size) if response.status == 206 else None
    if covered is not None:
        begin, end = covered
        if begin <= offset < end and end >= min(offset + PART_MIN, blob.stop):
            return Part(response, begin, end)
    abandon(response)
    return None


def whole(response: BaseHTTPResponse, blob: Blob) -> Part:
    """A whole blob. Raises `DigestMismatchError` for one of another size.

    A big blob is not decoded: the compressed bytes are what the digest names.
    """
    if response.status == 206:
        if (part := judged(response, blob, 0)) is None:
            raise TransientError(f"{blob.where}: a part was sent, though the whole was asked for")
        return part
    body: BaseHTTPResponse | BytesReader = response
    length = content_length(response)
    if is_encoded(response) and blob.size <= DOCUMENT_MAX:
        body = BytesReader(plain(response, blob.name, blob.where))
        length = body.size
    if length is not None and length != blob.size:
        close(body)
        encoding = response.headers.get("Content-Encoding", "")
        raise DigestMismatchError(
            f"{blob.where} has {length} bytes in its registry instead of the {blob.size} stated",
            hint=f"it comes with the content encoding {encoding}, though none was asked for"
            if encoding
            else "",
        )
    return Part(body, 0, blob.size)


def close(body: BaseHTTPResponse | BytesReader) -> None:
    """Have done with a body, perhaps in the middle of it."""
    if isinstance(body, BytesReader):
        body.close()
    else:
        abandon(body)


def plain(response: BaseHTTPResponse, name: Hash, where: str) -> bytes:
    """A small blob that may be encoded, whole.

    The hash decides whether it is: a gzip layer is often stored with its compression as its encoding.
    """
    data = read_raw(response, DOCUMENT_MAX, where)
    if name.of(data, name.algorithm) == name:
        return data
    return decoded(data, response.headers.get("Content-Encoding", ""), DOCUMENT_MAX, where)


def range_header(begin: int, end: int) -> dict[str, str]:
    return {"Range": f"bytes={begin}-{end - 1}"}


def content_length(response: BaseHTTPResponse) -> int | None:
    """Bytes of the body, as the server states them."""
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else None


def stated_size(response: BaseHTTPResponse) -> int | None:
    """Bytes of the whole blob, as the answer to a request for it, or for a part of it, states them."""
    if response.status != 206:
        return content_length(response)
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[3]) if found and found[3] != "*" else None


def _covered(response: BaseHTTPResponse, size: int) -> tuple[int, int] | None:
    """Where the part begins and ends that a 206 carries; None if it does not state that, or states it wrong.

    Where the body is shorter than its range, it is its length that counts.
    """
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not found or (found[3] != "*" and int(found[3]) != size):
        return None
    begin, end = int(found[1]), int(found[2]) + 1
    length = content_length(response)
    if length is not None:
        end = min(end, begin + length)
    return (begin, end) if begin < end <= size else None
