"""Writing an object of known size to Google Cloud Storage: one request, which goes on after a break."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import RewindError, SinkBase, check_usable
from layercache.errors import BackendError
from layercache_backends.gcs.upload import GoneError, ResumableUpload
from layercache_backends.gcs.window import Window
from layercache_backends.objects.deadline import Deadline

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import ReadableBuffer

    from layercache_backends.objects.service import Service
    from layercache_backends.objects.session import Session

SESSIONS = 3
"""Upload sessions that are begun for one object, where the service forgets them."""


class SizedSink(SinkBase):
    """An object of ``size`` bytes, at least one, that is sent while it is written.

    What was sent last stays in memory (`Window`). After a break, the service is asked how much it has. If it
    has less than can be sent again, or does not know the upload any more, `RewindError` makes the writer go
    back. The last byte is held back until ``commit``. Belongs to the process that started it.
    """

    def __init__(self, session: Session, name: str, doing: str, size: int) -> None:
        self._session = session
        self._doing = doing
        self._window = Window(size, session.soon)
        # It must not know this sink: while it waits for bytes, a forgotten sink is to be found out.
        self._sender = _Sender(session, name, doing, self._window)
        self._sending: Future[None] | None = None
        self._ended = False

    @property
    def sent(self) -> int:
        """As `Counting.sent`. Less than before after a break, if the service has less."""
        return self._window.sent

    def write(self, data: ReadableBuffer, /) -> None:
        self._check()
        with memoryview(data) as view, view.cast("B") as octets:
            if not octets:
                return
            if self._window.written + len(octets) > self._window.size:
                raise self._wrong("more")
            if self._sending is None:
                self._sending = self._session.start(self._sender.send())
                self._sending.add_done_callback(self._window.end)
            if not self._window.write(octets):
                self._session.wait(self._sending)  # raises why it is over

    def commit(self) -> None:
        self._check()
        try:
            if self._sending is None or not self._window.finish():
                raise self._wrong("less")
            self._session.wait(self._sending)
        except RewindError:
            raise
        except BaseException:
            self.abort()
            raise
        self._ended = True

    def abort(self) -> None:
        """Discard the write. In a forked child, do nothing."""
        if self._ended or self._session.owner != os.getpid():
            return
        self._ended = True
        if self._sending:
            with suppress(BackendError):  # the service forgets it after a week
                self._session.call(self._sender.discard())

    def __del__(self) -> None:
        # The sink was forgotten. Any thread may run this, even the event loop's, so it does not wait.
        if not self._ended and self._sending and self._session.owner == os.getpid():
            with suppress(BackendError):
                self._session.start(self._sender.discard())

    def _check(self) -> None:
        check_usable(f"{self._session.url}: {self._doing}", self._session.owner, ended=self._ended)

    def _wrong(self, than: str) -> BackendError:
        return BackendError(
            f"{self._session.url}: {self._doing}: {than} than the {self._window.size} bytes stated"
        )


class _Sender:
    """Sends what comes into a window. All of it runs on the event loop."""

    def __init__(self, session: Session, name: str, doing: str, window: Window) -> None:
        self._session = session
        self._name = name
        self._doing = doing
        self._window = window
        self._patience = Deadline(session.timeout)
        self._task: asyncio.Task[None] | None = None
        self._upload: ResumableUpload | None = None
        self._begun = 0

    async def send(self) -> None:
        """Send the object; publish it once the writer has finished."""
        self._task = asyncio.current_task()
        self._patience.progress()
        await self._session.insist(self._doing, self._attempt, self._patience)

    async def discard(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if upload := self._upload:
            await self._session.insist(self._doing, lambda _: upload.discard())

    async def _attempt(self, service: Service) -> None:
        while True:
            if self._upload is None:
                upload = await service.begin(self._name)
                assert isinstance(upload, ResumableUpload)
                self._upload = upload
                self._begun += 1
                self._window.begin()
            try:
                return await self._upload.stream(self._window, self._patience)
            except GoneError:
                self._upload = None
                if self._begun == SESSIONS:
                    raise
                self._patience.progress()
