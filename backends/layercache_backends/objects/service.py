"""What a service for objects must be able to do, so that `objects.backend` makes a backend of it.

A `Service` is written for one SDK and is thin: one method is one request. It raises the SDK's own errors and
says of each what it means (`Service.failure`). Everything else is written once, above it: which errors are
tried again and for how long, going on after a break, ranges ahead, parts, listing, threads, forks, messages.

All of it runs on one event loop, which belongs to this process and this backend (see
`layercache_backends.objects.session`).
Names are the service's own: the prefix of the URL and the key.
"""

from __future__ import annotations

import enum
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.backend import Entry, Reader


class Kind(enum.Enum):
    """What an error of a service means for those who asked."""

    ABSENT = "the service says that there is no such object; never a guess"
    CHANGED = "the object is not the version that was asked for"
    PAST_END = "the range begins at or past the object's end"
    BUSY = "throttled or failing just now: worth another try"
    BROKEN = "the connection broke or went silent: worth another try"
    EXPIRED = "the credentials have ended: worth one more try with new ones"
    UNREACHABLE = "refused, or no such host: worth a quick second try and no more"
    FINAL = "forbidden, no bucket, no credentials, and all that another try does not change"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of a service, understood. ``reason`` and ``hint`` are shown, so they hold no secret."""

    kind: Kind
    reason: str
    hint: str = ""


class Payload(io.BytesIO):
    """Bytes to send. Says (once for each byte, however often it is read) that sending gets on.

    A `io.BytesIO`, since aiohttp sends just these without a thread for each chunk, and since bytes that are
    written into it are the one copy that has to be made of the caller's buffer.
    """

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self._furthest = 0
        self.progress: Callable[[], None] = _nobody

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if (here := self.tell()) > self._furthest:
            self._furthest = here
            self.progress()
        return data


def _nobody() -> None:
    """Nobody wants to know."""


class Body(Protocol):
    """The bytes of one GET.

    ``start``: where in the object they begin, as the service says (it may have ignored the range); ``size``:
    how many there are; ``version``: what tells this object from another one of the same name (an ETag, a
    generation), "" where the service says nothing.
    """

    start: int
    size: int
    version: str

    async def read(self, size: int, /) -> bytes:
        """At most ``size`` of the next bytes, as soon as there are some; b"" at the end."""

    def close(self) -> None:
        """Give the connection back if the end was reached, else break it off. At once; twice is no error."""


class Upload(Protocol):
    """An object that is sent in parts. Until ``complete`` (or the last part) it has no name.

    ``in_flight``: how many parts may be on their way at once; 1 where each one continues the last.
    """

    in_flight: int

    async def send(self, number: int, offset: int, data: Payload, *, last: bool) -> None:
        """Send part ``number`` (1, 2, ...), which begins at ``offset`` of the object. May be called again.

        All but the last have a multiple of 1 MiB, at least 8 MiB. Where the service publishes with the last
        part, it is done here: ``last`` is True only when the writer commits and all other parts have arrived.
        """

    async def complete(self) -> None:
        """Publish what was sent. May be called again. Nothing, where the last part has done it."""

    async def discard(self) -> None:
        """Forget what was sent. Called when no part is on its way any more."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing; ``next`` is what the service wants to be given for the next one, None: the end."""

    entries: Sequence[Entry]
    next: str | None


@dataclass(frozen=True, slots=True)
class Direct:
    """obstore's store for a bucket, asked without the event loop; ``writes``: whether to write by it.

    ``version``: what of an object's metadata is what a `Body` says of its version.
    """

    store: Any
    writes: bool
    version: Literal["e_tag", "version"]


class Service(Protocol):
    """One SDK's client, connected, on the running event loop. Any method may raise what the SDK raises."""

    async def get(self, name: str, start: int, end: int | None, version: str | None) -> Body:
        """Begin to read bytes ``start`` to ``end`` (exclusive, more than ``start``; None: to the end).

        With ``version``: only that one, another one is `Kind.CHANGED`.
        """

    async def head(self, name: str) -> Entry:
        """The object's size and time; ``key`` is the name.

        Absence must be the service's own word: an answer without a body, as to a HEAD, has to be confirmed.
        """

    async def put(self, name: str, data: Payload, *, new: bool = False) -> None:
        """Send and publish an object in one request; ``new``: if the name is free, else `Kind.CHANGED`."""

    async def begin(self, name: str) -> Upload:
        """Begin to send an object in parts."""

    async def page(self, prefix: str, after: str | None) -> Page:
        """A page of the names that begin with ``prefix``, never cached. ``after``: the last ``next``."""

    async def delete(self, name: str) -> None:
        """Remove the object; what is not there is `Kind.ABSENT` or no error."""

    async def direct(self, seconds: float) -> Direct:
        """The same bucket by obstore, at the same address and with the same credentials.

        It tries once, and gives up after so many ``seconds`` of silence. Only where obstore is installed.
        """

    def failure(self, error: Exception) -> Failure | None:
        """What an error that a method of this service (or of its bodies and uploads) raised means.

        None: not an error of the service but one of the program. `Kind.ABSENT` only with the service's own
        error code for an object that is not there.
        """

    async def renew(self) -> None:
        """Find the credentials again, after `Kind.EXPIRED`. What is being read or written goes on.

        Raises `ConfigError`, or what the SDK raises.
        """

    async def close(self) -> None:
        """Give back the connections."""


class Shortcut(Protocol):
    """A quicker way for some requests of a session, which may decline any of them."""

    def open(self, name: str, doing: str, start: int, end: int | None) -> Reader | None:
        """Begin to read; None: ask the service. Raises `NotFoundError` where the service says so itself."""

    def put(self, name: str, data: Payload) -> bool:
        """Publish an object; False: it may or may not be there, send it to the service."""
