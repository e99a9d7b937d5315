"""A service in one process: an event loop in a thread, one client, retries, translated errors."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from layercache.errors import BackendError, NotFoundError
from layercache_backends.objects.deadline import Deadline
from layercache_backends.objects.service import Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from concurrent.futures import Future

    from layercache.errors import LayercacheError
    from layercache_backends.objects.service import Service, Shortcut

_T = TypeVar("_T")

_OPEN: set[Session] = set()
"""Open sessions. A forked child inherits its parent's, and must not finalize them, because it shares the
event loop's selector and the sockets.
"""


class Session:
    """Belongs to the process that creates it. Thread-safe."""

    def __init__(self, url: str, timeout: float, connect: Callable[[], Coroutine[Any, Any, Service]]) -> None:
        self.url = url
        self.timeout = timeout
        self.owner = os.getpid()
        self.direct: Shortcut | None = None
        """The fast path, tried first if there is one."""
        self._connect = connect
        self._connected: asyncio.Task[Service] | None = None
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._renewals = 0
        self._renewing = asyncio.Lock()

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run on the event loop and wait for the result. Not to be called from the loop."""
        return self.wait(self.start(work))

    def wait(self, future: Future[_T]) -> _T:
        """Wait for the result of what was started."""
        try:
            return future.result()
        except (asyncio.CancelledError, CancelledError):
            raise self._ended() from None
        except BaseException:
            future.cancel()  # KeyboardInterrupt: nobody needs the result any more
            raise

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Start on the event loop. From any thread; never blocks."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._running())
        except BaseException:
            work.close()
            raise

    def soon(self, work: Callable[[], object]) -> None:
        """Run on the event loop later. From any thread or finalizer; never blocks."""
        if self._loop and not self._closed and self.owner == os.getpid():
            self._loop.call_soon_threadsafe(work)

    async def insist(
        self, doing: str, attempt: Callable[[Service], Awaitable[_T]], patience: Deadline | None = None
    ) -> _T:
        """Return the attempt's result; retry it if that may help. Expired credentials are renewed.

        Finally raises `NotFoundError` or `BackendError`, which name the operation.
        """
        service = await self.service()
        patience = patience or Deadline(self.timeout)
        while True:
            renewals = self._renewals
            try:
                async with patience:
                    return await attempt(service)
            except Exception as error:
                failure = self.understood(service, error, patience)
                if failure is None:
                    raise
                if failure.kind is Kind.EXPIRED and patience.may_renew:
                    patience.may_renew = False
                    await self._renew(service, doing, renewals)
                elif not await patience.again(failure):
                    raise self.error(doing, failure) from error

    async def _renew(self, service: Service, doing: str, renewals: int) -> None:
        """Renew the credentials, unless another request has done so since the count was ``renewals``."""
        async with self._renewing:
            if self._renewals == renewals:
                try:
                    await service.renew()
                except Exception as error:
                    failure = service.failure(error)
                    if failure is None:
                        raise
                    raise self.error(doing, failure) from error
                self._renewals += 1

    async def service(self) -> Service:
        """Return the connected client. The first caller connects it; a failure is not cached."""
        if self._connected is None:
            self._connected = asyncio.create_task(self._connect())
        connecting = self._connected
        try:
            return await asyncio.shield(connecting)
        except Exception:
            if self._connected is connecting:
                self._connected = None
            raise

    def understood(self, service: Service, error: Exception, patience: Deadline) -> Failure | None:
        """Classify an error; None if it is not the service's."""
        if isinstance(error, TimeoutError) and patience.over:
            return Failure(
                Kind.FINAL,
                f"no response for {patience.seconds:g} s",
                "check the endpoint and the network, or increase the option timeout",
            )
        return service.failure(error)

    def error(self, doing: str, failure: Failure) -> LayercacheError:
        """Translate a failure into an error to be raised from its cause."""
        if failure.kind is Kind.ABSENT:
            return NotFoundError(f"{doing}: does not exist", looked_in=(self.url,))
        return BackendError(f"{self.url}: {doing}: {failure.reason}", hint=failure.hint)

    def close(self) -> None:
        """Cancel everything, and close the connections, the loop and the thread."""
        with self._starting:
            loop, self._closed = self._loop, True
            self.direct = None
        _OPEN.discard(self)
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    async def _end(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        connected = self._connected
        under_way.discard(connected)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if connected is not None:
            await asyncio.gather(connected, return_exceptions=True)
            if not connected.cancelled() and connected.exception() is None:
                await connected.result().close()
        loop = asyncio.get_running_loop()
        # A closed connection whose peer no longer reads waits to send its bytes, and keeps its socket.
        for transport in list(getattr(loop, "_transports", {}).values()):
            if transport.get_extra_info("socket").fileno() >= 0:
                transport.abort()
        await asyncio.sleep(0)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self.owner != os.getpid():
            raise self.foreign()
        if self._loop is None:
            with self._starting:
                if not self._started():
                    loop = asyncio.new_event_loop()
                    self._thread = threading.Thread(
                        target=loop.run_forever, name=f"layercache {self.url}", daemon=True
                    )
                    self._thread.start()
                    _OPEN.add(self)
                    self._loop = loop
        if self._loop is None or self._closed:
            raise self._ended()
        return self._loop

    def foreign(self) -> BackendError:
        """Return the error that this belongs to another process."""
        return BackendError(
            f"{self.url}: this belongs to process {self.owner}",
            hint="start new reads and writes in the forked child",
        )

    def _started(self) -> bool:
        return self._loop is not None or self._closed

    def _ended(self) -> BackendError:
        return BackendError(f"{self.url}: this backend has been closed")
