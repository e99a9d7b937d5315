"""A resumable upload to Google Cloud Storage: chunks in order, and nothing visible before the last one.

A chunk is never simply sent again: the service may have received it, or a part of it, before the connection
broke. So it is asked what it has, and is sent the rest.
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
    from layercache_backends.objects.service import Payload

_GONE = (404, 410)
_ENDED = (NO_CONTENT, 499, *_GONE)
"""Statuses after a session was deleted (499 is documented) or has disappeared."""

_KEPT = re.compile(r"bytes=0-(\d+)")


class ResumableUpload:
    """An `Upload`: an upload session of the service, which accepts one part at a time."""

    in_flight = 1

    def __init__(self, requests: Requests, url: str) -> None:
        self._requests = requests
        self._url = url
        self._kept = 0
        self._unsure = False
        self._published = False

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
        if self._unsure:
            await self._put(None, total)
        while not self._published and (last or self._kept < end):
            before = self._kept
            if not offset <= before <= end:
                raise RefusalError(
                    RESUME_INCOMPLETE,
                    f"the upload is at byte {before}, not between {offset} and {end}",
                    known=True,
                )
            data.seek(before - offset)
            await self._put(data if before < end else None, total)
            if self._kept == before and not self._published:
                raise RefusalError(
                    RESUME_INCOMPLETE, "the service did not accept any of the bytes sent", known=True
                )

    async def complete(self) -> None:
        """Do nothing: the last part has published the object."""

    async def discard(self) -> None:
        if not self._published:
            await self._requests.ask("DELETE", self._url, accept=_ENDED, body=b"")

    async def _put(self, data: Payload | None, total: int | None) -> None:
        """Send the rest of the data, or ask how far the service is; return whether it is done."""
        place = "*"
        if data:
            place = f"{self._kept}-{self._kept + len(data.getbuffer()) - data.tell() - 1}"
        self._unsure = True
        answer = await self._requests.ask(
            "PUT",
            self._url,
            accept=(OK, CREATED, RESUME_INCOMPLETE, *_GONE),
            headers={"Content-Range": f"bytes {place}/{'*' if total is None else total}"},
            body=data or b"",
        )
        self._learn(answer, total)
        self._unsure = False

    def _learn(self, answer: Answer, total: int | None) -> None:
        if answer.status in _GONE:
            # Not a 404 of an object, which would mean that it is missing.
            raise RefusalError(_GONE[-1], "the upload session no longer exists", known=True)
        if answer.status == RESUME_INCOMPLETE:
            kept = _KEPT.fullmatch(answer.headers.get("Range", ""))
            self._kept = int(kept[1]) + 1 if kept else 0
            return
        self._published = True
        size = int(answer.document()["size"])
        if size != total:
            raise RefusalError(answer.status, f"the service published {size} bytes of an upload", known=True)
