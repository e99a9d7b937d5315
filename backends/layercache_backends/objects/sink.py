"""Writing to a service: one request for a small object, parts for others; no name before ``commit``."""

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
"""Bytes of a part, and the maximum of an object that is sent in one request."""

MIB = 1 << 20


def part_size(offset: int) -> int:
    """Return the size of the next part: 8 MiB, or a thousandth of the bytes sent so far, in whole MiB.

    So the 10,000 parts that S3 allows hold more than 50 TB, and the writer's memory stays small.
    """
    return max(PART, -(-(offset // 1000) // MIB) * MIB)


class ObjectSink(SinkBase):
    """An object being written. Belongs to the process that started it; unusable in a forked child.

    ``part``: the size of the next part, given the bytes before it; ``size``: bytes of the object, if known.
    Holds at most one part that is being filled, and those in flight. An aborted upload of several parts is
    discarded as soon as no part is in flight; if that fails, or this process is killed, its parts stay
    without a name until `Leftovers` or the bucket's lifecycle rule removes them.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        doing: str,
        part: Callable[[int], int] = part_size,
        size: int | None = None,
    ) -> None:
        self._session = session
        self._name = name
        self._doing = doing
        self._part_size = part
        self._size = size
        self._part = Payload()
        self._offset = 0
        self._number = 0
        self._upload: Upload | None = None
        self._in_flight: deque[Future[None]] = deque()
        self._ended = False
        # The event loop's thread adds and removes them; `sent` takes copies, and may be off by a part.
        self._sending_now: dict[Payload, None] = {}
        self._sent = 0

    @property
    def sent(self) -> int:
        """Bytes that were handed to the service's connections."""
        return self._sent + sum(part.furthest for part in list(self._sending_now))

    def write(self, data: ReadableBuffer, /) -> None:
        self._check()
        with memoryview(data) as view, view.cast("B") as octets:
            done = 0
            while done < len(octets):
                room = self._part_size(self._offset) - self._part.tell()
                if not room:
                    self._send_part()
                    continue
                done += self._part.write(octets[done : done + room])

    def commit(self) -> None:
        self._check()
        try:
            self._check_size()
            if self._number == 0 and self._part.tell() <= PART:
                self._put(self._part)
            else:
                self._begin()
                self._wait_for(0)
                self._session.call(self._finish(self._part))
        except BaseException:
            self.abort()
            raise
        self._end()

    def abort(self) -> None:
        """Discard the write. In a forked child, do nothing."""
        if self._ended or self._session.owner != os.getpid():
            return
        in_flight = list(self._in_flight)
        self._end()
        if in_flight or self._upload:
            with suppress(BackendError):  # `Leftovers` removes what cannot be discarded now
                self._session.call(self._discard(in_flight))

    def __del__(self) -> None:
        # The sink was forgotten. Any thread may run this, even the event loop's, so it does not wait.
        if not self._ended and (self._in_flight or self._upload) and self._session.owner == os.getpid():
            in_flight = list(self._in_flight)
            self._end()
            with suppress(BackendError):
                self._session.start(self._discard(in_flight))

    def _check(self) -> None:
        check_usable(f"{self._session.url}: {self._doing}", self._session.owner, ended=self._ended)

    def _check_size(self) -> None:
        written = self._offset + self._part.tell()
        if self._size not in (None, written):
            raise BackendError(
                f"{self._session.url}: {self._doing}: {written} bytes instead of the {self._size} stated"
            )

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
        """Send the full part as soon as another one may be in flight."""
        upload = self._begin()
        self._wait_for(max(upload.in_flight - 1, 0))
        part, offset = self._part, self._offset
        self._part = Payload()
        self._offset += part.tell()
        self._number += 1
        self._in_flight.append(
            self._session.start(self._send(upload, self._number, offset, part, last=False))
        )
        del part  # or it is held while the next one is filled
        self._wait_for(upload.in_flight)

    def _wait_for(self, number: int) -> None:
        """Wait until at most this many parts are in flight. Raises the errors of finished ones."""
        while len(self._in_flight) > number:
            self._in_flight[0].result()
            self._in_flight.popleft()

    def _begin(self) -> Upload:
        if self._upload is None:
            begin = self._session.insist(self._doing, lambda service: service.begin(self._name))
            self._upload = self._session.call(begin)
        return self._upload

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
        self._sending_now[part] = None

        async def again(service: Service) -> None:
            part.seek(0)
            await attempt(service)

        await self._session.insist(self._doing, again, patience)
        self._sent += len(part.getbuffer())
        del self._sending_now[part]

    async def _discard(self, in_flight: list[Future[None]]) -> None:
        # A part that arrives after the abort would stay forever.
        await asyncio.gather(*map(asyncio.wrap_future, in_flight), return_exceptions=True)
        upload = self._upload
        if upload:
            await self._session.insist(self._doing, lambda _: upload.discard())
