"""A blob on its way to a registry: in one piece or in several, and on from where a piece broke off.

The distribution-spec's "Pushing a blob monolithically", "in chunks", and "Mounting".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from layercache.errors import SourceError
from layercache.registry.http import discard
from layercache.registry.retry import TransientError

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

    from layercache.oci.digest import Hash
    from layercache.registry.retry import Retries

UPLOAD_PIECE = 8 << 20
"""Bytes that are sent in one request, and held in memory until the registry has them."""

UPLOAD_PIECE_MAX = 64 << 20
"""What a registry may want a piece to have at least, at most."""

_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS = {"Content-Type": "application/octet-stream"}
_LOST = frozenset({404, 416})


class Bytes(Protocol):
    """What is sent: a reader, or a binary file."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seekable(self) -> bool: ...


class Request(Protocol):
    """Requests a path below a repository, or a URL that it named. ``again``: retry if necessary."""

    def __call__(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        also: frozenset[int] = frozenset(),
        again: bool = True,
    ) -> BaseHTTPResponse: ...


class Upload:
    """One blob into one repository.

    A piece that broke off is resumed at the byte that the registry reports. If the registry has
    forgotten the upload, it starts over if the bytes can be read once more: if they all are in the one
    piece that is in memory, or the reader can seek. Else it fails, and the caller's next try is another
    upload. What was sent has no name before the last request, so none of it is ever seen.
    """

    def __init__(self, request: Request, retries: Retries, name: Hash, where: str) -> None:
        self._request = request
        self._retries = retries
        self._name = name
        self._where = f"{where}@{name}"
        self._url = ""
        self.sent = 0
        """Bytes that the registry has, as far as it has reported."""
        self._piece = UPLOAD_PIECE
        self._read_pieces = 0
        self._size = 0

    def send(self, reader: Bytes, mount_from: str = "") -> int | None:
        """Send all bytes of the reader; return how many, None if the blob was mounted from ``mount_from``."""
        if self._begin(mount_from):
            return None
        piece = self._read(reader)
        for attempt in range(self._retries.count + 1):
            if attempt:
                self._retries.wait(attempt - 1)
                piece = self._start_over(reader, piece)
            try:
                self._send_from(reader, piece)
            except _UploadLostError:
                continue
            return self._size
        raise SourceError(f"{self._where}: the upload broke off {self._retries.count + 1} times")

    def _send_from(self, reader: Bytes, piece: bytes) -> None:
        if len(piece) < self._piece and not self.sent:
            self._finish(piece)
            return
        while piece:
            self._send_piece(piece)
            piece = self._read(reader)
        self._finish(b"")

    def _begin(self, mount_from: str = "") -> bool:
        """Begin an upload; True if that was not needed, since the blob was mounted."""
        query = f"?mount={quote(self._name, safe='')}&from={quote(mount_from, safe='')}" if mount_from else ""
        try:
            response = self._request("POST", f"blobs/uploads/{query}", {"Content-Length": "0"})
        except SourceError:
            if not query:
                raise
            return self._begin()  # not allowed to read over there: no reason not to send it
        discard(response)
        self.sent = 0
        if query and response.status == 201:
            return True
        self._url = ""
        self._follow(response)
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdigit():
            self._piece = min(max(UPLOAD_PIECE, int(least[:12])), UPLOAD_PIECE_MAX)
        return False

    def _start_over(self, reader: Bytes, piece: bytes) -> bytes:
        if self._read_pieces > 1:
            if not reader.seekable():
                raise SourceError(
                    f"{self._where}: the registry forgot the upload after {self.sent} bytes",
                    hint="try again: the upload starts over",
                )
            self._read_pieces = self._size = 0
            reader.seek(0)  # type: ignore[attr-defined]  # seekable() promises it
            piece = self._read(reader)
        self._begin()
        return piece

    def _read(self, reader: Bytes) -> bytes:
        """The next piece; a shorter one is the last."""
        self._read_pieces += 1
        parts, left = [], self._piece
        while left and (part := reader.read(left)):
            parts.append(part)
            left -= len(part)
        piece = b"".join(parts)
        self._size += len(piece)
        return piece

    def _send_piece(self, piece: bytes) -> None:
        begin, end = self.sent, self.sent + len(piece)
        for attempt in range(self._retries.count + 1):
            if attempt:
                self._retries.wait(attempt - 1)
                self._ask_where(begin, end)
            if self.sent == end:
                return
            headers = {**_OCTETS, "Content-Range": f"{self.sent}-{end - 1}"}
            rest = piece[self.sent - begin :]
            try:
                response = self._request("PATCH", self._url, headers, rest, also=_LOST, again=False)
            except TransientError:
                continue
            self._follow(response)
            self.sent = end
            return
        raise SourceError(f"{self._where} broke off {self._retries.count + 1} times at byte {self.sent}")

    def _finish(self, piece: bytes) -> None:
        """The name, with all the bytes if they are few."""
        url = f"{self._url}{'&' if '?' in self._url else '?'}digest={quote(self._name, safe='')}"
        try:
            response = self._request("PUT", url, _OCTETS, piece, also=_LOST, again=False)
            discard(response)
            done = response.status not in _LOST
        except TransientError:
            done = False
        if not done:  # the answer alone may have got lost
            there = self._request("HEAD", f"blobs/{self._name}", also=_LOST)
            discard(there)
            if there.status in _LOST:
                raise _UploadLostError

    def _ask_where(self, begin: int, end: int) -> None:
        """Learn how much of a piece has come."""
        response = self._request("GET", self._url, also=_LOST)
        self._follow(response)
        found = _RANGE.fullmatch(response.headers.get("Range", ""))
        has = int(found[1]) + 1 if found and found[1] != "0" else 0  # "0-0" means no bytes at all
        if not begin <= has <= end:
            raise _UploadLostError
        self.sent = has

    def _follow(self, response: BaseHTTPResponse) -> None:
        """Remember where the next request goes, from this answer."""
        discard(response)
        if response.status in _LOST:
            raise _UploadLostError
        location = response.headers.get("Location", "") or self._url
        if not location:
            raise SourceError(f"{self._where}: the registry does not say where to send it")
        self._url = location


class _UploadLostError(Exception):
    """The registry knows no such upload any more, or other bytes of it."""
