"""An upload session of Google Cloud Storage: bytes in order, and nothing visible before the last one.

Bytes are never simply sent again: the service may have received them, or a part of them, before the
connection broke. So it is asked what it has, and is sent the rest.
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layercache_backends.gcs.requests import (
    CREATED,
    NO_CONTENT,
    OK,
    RESUME_INCOMPLETE,
    RefusalError,
    used_now,
)

if TYPE_CHECKING:
    from layercache_backends.gcs.requests import Answer, Requests
    from layercache_backends.gcs.window import Body, Window
    from layercache_backends.objects.deadline import Deadline
    from layercache_backends.objects.service import Payload

_GONE = (404, 410)
_ENDED = (NO_CONTENT, 499, *_GONE)
"""Statuses after a session was deleted (499 is documented) or has disappeared."""

_KEPT = re.compile(r"bytes=0-(\d+)")


class GoneError(RefusalError):
    """The session no longer exists: it has expired, or was deleted."""

    def __init__(self) -> None:
        # Not a 404 of an object, which would mean that it is missing.
        super().__init__(_GONE[-1], "the upload session no longer exists", known=True)


class ResumableUpload:
    """An upload session. As an `Upload`, it accepts one part at a time, the next one after the last.

    ``kept``: bytes that the service has, as it said last; ``published``: whether the object is complete.
    """

    in_flight = 0

    def __init__(self, requests: Requests, url: str) -> None:
        self._requests = requests
        self._url = url
        self.kept = 0
        self.published = False
        self._unsure = False

    @classmethod
    async def begin(cls, requests: Requests, name: str) -> ResumableUpload:
        answer = await requests.ask(
            "POST",
            requests.uploads,
            {"uploadType": "resumable", "name": name},
            headers={"Content-Type": "application/json"},
            body=used_now(name=name),
        )
        if "Location" not in answer.headers:
            raise RefusalError(answer.status, "the response has no upload session", known=False)
        return cls(requests, answer.headers["Location"])

    async def send(self, number: int, offset: int, data: Payload, *, last: bool) -> None:  # noqa: ARG002  # `Upload`'s
        """Make sure that the service has this part and all before it; publish after the last one."""
        end = offset + len(data.getbuffer())
        total = end if last else None
        before = self.kept
        await self._find_out(total)
        while not self.published and (last or self.kept < end):
            if not offset <= self.kept <= end:
                raise self._elsewhere(offset, end)
            if self.kept > before:
                # What it has not kept beyond that counts as progress when it is sent again.
                data.furthest = self.kept - offset
                data.progress()
            before = self.kept
            data.seek(before - offset)
            await self._put_up_to(end, data, total)

    async def stream(self, window: Window, patience: Deadline) -> None:
        """Send all of an object in one request, and in another one what a broken one left."""
        size = window.size
        await self._find_out(size)
        while not self.published:
            body = window.body(self.kept, patience)
            if body is None:
                raise self._elsewhere(0, window.sent)
            await self._put_up_to(size, body, size)
        if not window.finished:
            raise RefusalError(OK, "the service published an object before its end", known=True)

    async def _find_out(self, total: int | None) -> None:
        """Ask the service how much it has, if the connection broke since it said so last."""
        if self._unsure:
            await self._put(b"", "*", total)

    async def _put_up_to(self, end: int, data: Payload | Body, total: int | None) -> None:
        """Send the bytes from ``kept`` up to ``end``. ``kept`` is more afterwards, but perhaps not all."""
        before = self.kept
        if length := end - before:
            await self._put(data, f"{before}-{end - 1}", total, length)
        else:
            await self._put(b"", "*", total)
        if self.kept <= before and not self.published:
            raise RefusalError(
                RESUME_INCOMPLETE, "the service did not accept any of the bytes sent", known=True
            )

    async def complete(self) -> None:
        """Do nothing: the last part has published the object."""

    async def discard(self) -> None:
        if not self.published:
            await self._requests.ask("DELETE", self._url, accept=_ENDED, body=b"")

    def _elsewhere(self, least: int, most: int) -> RefusalError:
        message = f"the upload is at byte {self.kept}, not between {least} and {most}"
        return RefusalError(RESUME_INCOMPLETE, message, known=True)

    async def _put(
        self, body: bytes | Payload | Body, place: str, total: int | None, length: int = 0
    ) -> None:
        self._unsure = True
        answer = await self._requests.ask(
            "PUT",
            self._url,
            accept=(OK, CREATED, RESUME_INCOMPLETE, *_GONE),
            headers={
                "Content-Length": str(length),
                "Content-Range": f"bytes {place}/{'*' if total is None else total}",
            },
            body=body,
        )
        self._learn(answer, total)
        self._unsure = False

    def _learn(self, answer: Answer, total: int | None) -> None:
        if answer.status in _GONE:
            raise GoneError
        if answer.status == RESUME_INCOMPLETE:
            kept = _KEPT.fullmatch(answer.headers.get("Range", ""))
            self.kept = int(kept[1]) + 1 if kept else 0
            return
        self.published = True
        size = int(answer.document()["size"])
        if size != total:
            raise RefusalError(answer.status, f"the service published {size} bytes of an upload", known=True)
