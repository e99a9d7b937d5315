"""The application that the server below calls: from its requests to the mirror's answers, and back."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec
from granian._granian import RSGIProtocolClosed as ProtocolClosed

from layercache.errors import LayercacheError
from layercache.serve.bodies import body_of
from layercache.serve.messages import (
    READS,
    Answer,
    AnyAnswer,
    EventsAnswer,
    FileAnswer,
    Later,
    RegistryError,
    Request,
    StreamAnswer,
)
from layercache.serve.pipes import CAPACITY, Pipes

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

    from layercache.serve.service import Service

log = logging.getLogger("layercache.serve")

EVENTS_EVERY = 1.0
"""Seconds between two looks at whether there is something new for a page that is open."""


class Application:
    """One worker's application, by the RSGI specification.

    The event loop only passes things on. What may block runs in threads: requests in ``_requests``, bodies
    that are on their way in ``_streams``, so that slow clients do not keep requests from being answered.
    ``folder``: for what passes between the two.
    """

    def __init__(self, service: Service, folder: str) -> None:
        self._service = service
        settings = service.settings
        self._requests = ThreadPoolExecutor(settings.max_requests, "request")
        self._streams = ThreadPoolExecutor(settings.max_streams, "stream")
        self._pipes = Pipes(folder)
        self._ending = asyncio.Event()

    async def __call__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        request = _request(scope)
        body = None
        if request.method not in READS:
            body = body_of(protocol, request.headers, self._service.settings.stall_timeout)
            request = msgspec.structs.replace(request, body=body)
        try:
            answer = self._service.quick(request)
            if answer is None:
                threads = self._requests if body is None else self._streams
                found = await asyncio.wrap_future(threads.submit(self._answer, request, protocol))
                answer = await asyncio.wrap_future(found) if isinstance(found, Future) else found
            if isinstance(answer, EventsAnswer):
                await self._follow(answer, protocol)
            elif answer is not None:
                self._send(answer, request, protocol)
        except RegistryError as error:
            self._send(error.answer(), request, protocol)
        except Exception:  # the server below would send a bare 500, and log nothing of the request
            log.exception("an error in layercache itself: %s %s", request.method, request.path)
            self._send(RegistryError(500, "UNKNOWN", "internal error").answer(), request, protocol)

    def end_events(self) -> None:
        """End what would not end by itself: the events for open pages. Called in the event loop."""
        self._ending.set()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:  # the server's signature
        self._requests.shutdown(wait=True)
        self._streams.shutdown(wait=True)
        self._pipes.close()
        self._service.close()

    def _answer(self, request: Request, protocol: HTTPProtocol) -> AnyAnswer | Future[AnyAnswer | None]:
        """The answer; one that waits, or is on its way, goes straight on in the threads for streams."""
        answer = self._service.answer(request)
        if isinstance(answer, Later | StreamAnswer):
            return self._streams.submit(self._wait, answer, protocol)
        return answer

    def _wait(self, answer: AnyAnswer, protocol: HTTPProtocol) -> AnyAnswer | None:
        """The answer that was waited for; None: it was on its way, and has been sent."""
        while isinstance(answer, Later):
            answer = answer.find()
        if not isinstance(answer, StreamAnswer):
            return answer
        self._stream(answer, protocol)
        return None

    def _send(self, answer: AnyAnswer, request: Request, protocol: HTTPProtocol) -> None:
        match answer:
            case Answer():
                if request.method == "HEAD" or not answer.body:
                    protocol.response_empty(answer.status, answer.headers)
                else:
                    protocol.response_bytes(answer.status, answer.headers, answer.body)
            case FileAnswer() if answer.start == answer.end:  # the server below has no empty ranges
                protocol.response_empty(answer.status, answer.headers)
            case FileAnswer():
                protocol.response_file_range(
                    answer.status, answer.headers, answer.path, answer.start, answer.end
                )
            case StreamAnswer() | Later() | EventsAnswer():
                raise AssertionError("not an answer that is sent at once")

    async def _follow(self, answer: EventsAnswer, protocol: HTTPProtocol) -> None:
        """Send events until there are no more, or the client has gone."""
        loop = asyncio.get_running_loop()
        stream = protocol.response_stream(answer.status, answer.headers)
        gone = asyncio.ensure_future(_disconnected(protocol))
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            while (text := await loop.run_in_executor(self._requests, answer.following)) is not None:
                await stream.send_str(text)
                done, _ = await asyncio.wait(
                    {gone, ending}, timeout=EVENTS_EVERY, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return
        except ProtocolClosed:
            return
        finally:
            gone.cancel()
            ending.cancel()

    def _stream(self, answer: StreamAnswer, protocol: HTTPProtocol) -> None:
        """Send bytes that are on their way, all at once if all of them have come.

        Any thread may call the protocol's methods that begin an answer: they hand it over under a lock.
        """
        with closing(answer.rest):
            if len(answer.first) < CAPACITY and _length(answer) == len(answer.first):
                protocol.response_bytes(answer.status, answer.headers, answer.first)
                return
            pipe = self._pipes.open()
            protocol.response_file(answer.status, answer.headers, pipe.path)
            try:
                pipe.feed(answer.first, answer.rest, patience=self._service.settings.stall_timeout)
            except (
                LayercacheError,
                OSError,
            ) as error:  # the connection is cut, which is all the client can be told
                log.warning("a body was not sent to its end: %s", error)


async def _disconnected(protocol: HTTPProtocol) -> None:
    await protocol.client_disconnect()


def _length(answer: StreamAnswer) -> int | None:
    lengths = [value for name, value in answer.headers if name.lower() == "content-length"]
    return int(lengths[0]) if lengths else None


def _request(scope: Scope) -> Request:
    pairs: list[tuple[str, str]] = []
    tags: tuple[str, ...] = ()
    if query := scope.query_string:
        pairs = parse_qsl(query, keep_blank_values=True)
        tags = tuple(value for name, value in pairs if name == "tag")
    return Request(
        scope.method, scope.path, dict(pairs), scope.headers, scope.client, scope.scheme, tags=tags
    )
