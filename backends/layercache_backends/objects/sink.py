"""Writing to a service: one request for what is small, parts for the rest; no name before ``commit``."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import SinkBase, check_usable
from layercache.errors import BackendError
from layercache_backends.objects.deadline import Deadline
from layercache_backends.objects.service import Payload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from _typeshed import ReadableBuffer

    from layercache_backends.objects.service import Service, Upload
    from layercache_backends.objects.session import Session

PART = 8 << 20
"""Bytes of a part, and of the biggest object that is sent in one request."""

MIB = 1 << 20


def part_size(offset: int) -> int:
    """Bytes of the part that begins here: 8 MiB, or a thousandth of what was sent, in whole MiB.

    10,000 parts, which is all that S3 takes, make more than 50 TB so, and the writer's memory stays small.
    """
    return max(PART, -(-(offset // 1000) // MIB) * MIB)


class ObjectSink(SinkBase):
    """An object being written. Belongs to the process that began it: a forked child cannot touch it.

    Holds at most one part that is being filled and those that are in flight. An upload that was begun in
    parts and then aborted is discarded as soon as no part is on its way; where that fails, or this process
    is killed, its parts stay without a name until `Leftovers` or the bucket's lifecycle rule remove them.
    """

    def __init__(self, session: Session, name: str, doing: str) -> None:
        self._session = session
        self._name = name
        self._doing = doing
        self._part = Payload()
        self._offset = 0
        self._number = 0
        self._upload: Upload | None = None
        self._in_flight: deque[Future[None]] = deque()
        self._ended = False

    def write(self, data: ReadableBuffer, /) -> None:
        self._check()
        with memoryview(data) as view, view.cast("B") as octets:
            done = 0
            while done < len(octets):
                room = part_size(self._offset) - self._part.tell()
                if not room:
                    self._send_part()
                    continue
                done += self._part.write(octets[done : done + room])

    def commit(self) -> None:
        self._check()
        try:
            if self._number == 0:
                self._put(self._part)
            else:
                self._wait_for(0)
                self._session.call(self._finish(self._part))
        except BaseException:
            self.abort()
            raise
        self._end()

    def abort(self) -> None:
        """End without a trace. A forked child ends nothing of its parent's."""
        if self._ended or self._session.owner != os.getpid():
            return
        in_flight = list(self._in_flight)
        self._end()
        if in_flight or self._upload:
            with suppress(BackendError):  # what cannot be discarded now is left to `Leftovers`
                self._session.call(self._discard(in_flight))

    def __del__(self) -> None:
        # Forgotten. Any thread may run this, also that of the event loop, so nothing is waited for.
        if not self._ended and (self._in_flight or self._upload) and self._session.owner == os.getpid():
            in_flight = list(self._in_flight)
            self._end()
            with suppress(BackendError):
                self._session.start(self._discard(in_flight))

    def _check(self) -> None:
        check_usable(f"{self._session.url}: {self._doing}", self._session.owner, ended=self._ended)

    def _end(self) -> None:
        self._ended = True
        self._in_flight.clear()
        self._part = Payload()

    def _put(self, part: Payload) -> None:
        began = time.monotonic()
        if (direct := self._session.direct) and direct.put(self._name, part):
            return
        spent = time.monotonic() - began
        self._session.call(self._sending(part, lambda service: service.put(self._name, part), spent))

    def _send_part(self) -> None:
        """Send the part that is full, as soon as there is room for one more in flight."""
        if self._upload is None:
            self._upload = self._session.call(self._begin())
        self._wait_for(self._upload.in_flight - 1)
        part, offset = self._part, self._offset
        self._part = Payload()
        self._offset += part.tell()
        self._number += 1
        self._in_flight.append(
            self._session.start(self._send(self._upload, self._number, offset, part, last=False))
        )

    def _wait_for(self, number: int) -> None:
        """Wait until at most so many parts are in flight. Raises what became of those that ended."""
        while len(self._in_flight) > number:
            self._in_flight[0].result()
            self._in_flight.popleft()

    async def _begin(self) -> Upload:
        return await self._session.insist(self._doing, lambda service: service.begin(self._name))

    async def _finish(self, part: Payload) -> None:
        upload = self._upload
        assert upload is not None
        await self._send(upload, self._number + 1, self._offset, part, last=True)
        await self._session.insist(self._doing, lambda _: upload.complete())

    async def _send(self, upload: Upload, number: int, offset: int, part: Payload, *, last: bool) -> None:
        await self._sending(part, lambda _: upload.send(number, offset, part, last=last))

    async def _sending(
        self, part: Payload, attempt: Callable[[Service], Awaitable[None]], spent: float = 0.0
    ) -> None:
        patience = Deadline(self._session.timeout, spent)
        part.progress = patience.progress

        async def again(service: Service) -> None:
            part.seek(0)
            await attempt(service)

        await self._session.insist(self._doing, again, patience)

    async def _discard(self, in_flight: list[Future[None]]) -> None:
        # A part that arrives after the abort would stay for ever.
        await asyncio.gather(*map(asyncio.wrap_future, in_flight), return_exceptions=True)
        upload = self._upload
        if upload:
            await self._session.insist(self._doing, lambda _: upload.discard())
