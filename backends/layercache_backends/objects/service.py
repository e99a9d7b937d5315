"""The interface of an object service, which `objects.backend` turns into a backend.

A `Service` is a thin layer for one SDK: one method is one request. It raises the SDK's errors and classifies
them (`Service.failure`). Everything else is implemented once, above it: which errors are retried and for how
long, continuing after an interruption, parallel ranges, parts, listing, threads, forks, messages.

All of it runs on one event loop, which belongs to this process and this backend (see
`layercache_backends.objects.session`).
Names are those of the service: the prefix of the URL and the key.
"""

from __future__ import annotations

import enum
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from layercache.backend import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.backend import Entry


class Kind(enum.Enum):
    """What an error of a service means for the caller."""

    ABSENT = "the service reports that the object does not exist; never a guess"
    CHANGED = "the object is not the requested version"
    PAST_END = "the range begins at or past the object's end"
    LIMITED = "the service is well and limits requests: retry, for longer"
    BUSY = "failing at the moment: retry"
    BROKEN = "the connection broke or went silent: retry"
    EXPIRED = "the credentials have expired: retry once with new ones"
    UNREACHABLE = "connection refused, or unknown host: retry quickly, and only twice"
    UNSUPPORTED = "the service does not know this kind of request"
    FINAL = "forbidden, no bucket, no credentials, and everything else that a retry does not change"


@dataclass(frozen=True, slots=True)
class Failure:
    """A classified error of a service. ``reason`` and ``hint`` are shown, so they contain no secret."""

    kind: Kind
    reason: str
    hint: str = ""


NO_TLS = "write endpoint_url with http:// if the service speaks plain HTTP, or check its port"

TLS = "write endpoint_url with https:// if the service speaks TLS, or check its port"


def is_no_tls(error: Exception) -> bool:
    """Whether an error of TLS means that the other side does not speak TLS at all."""
    # OpenSSL's messages for an answer that is not a TLS record, by version.
    text = str(error)
    return any(word in text for word in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"))


FREE = ""
"""A version for `Service.put`: no object has the name."""


class Payload(io.BytesIO):
    """Bytes to send. Reports progress once for each byte, however often it is read.

    ``begun``: how often its first byte was read, since HTTP clients may send a request again by themselves.

    It is a `io.BytesIO` because aiohttp sends these without a thread for each chunk, and because writing to
    it makes the one necessary copy of the caller's buffer.
    """

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.furthest = 0
        self.begun = 0
        self.progress: Callable[[], None] = _nobody

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun += self.tell() == 0
        data = super().read(size)
        if (here := self.tell()) > self.furthest:
            self.furthest = here
            self.progress()
        return data


def _nobody() -> None:
    """Ignore progress."""


class Body(Protocol):
    """The bytes of one GET.

    ``start``: their offset in the object, as the service reports it (it may have ignored the range);
    ``size``: their number; ``version``: what distinguishes this object from another one of the same name (an
    ETag, a generation), "" if the service has none; ``modified``: when the service changed the object last
    (seconds since the epoch), None if it did not say.
    """

    start: int
    size: int
    version: str

    @property
    def modified(self) -> float | None: ...

    async def read(self, size: int, /) -> bytes:
        """Return at most ``size`` of the next bytes as soon as there are some; b"" at the end."""

    def close(self) -> None:
        """Release the connection after the end, else close it. Does not wait; may be called twice."""


class Upload(Protocol):
    """An object that is sent in parts. It has no name until ``complete`` (or the last part).

    ``in_flight``: how many parts may be sent while another one is filled. 0 if each one continues the last
    and is big, so that only one is in memory.
    """

    in_flight: int

    async def send(self, number: int, offset: int, data: Payload, *, last: bool) -> None:
        """Send part ``number`` (1, 2, ...), which begins at ``offset`` of the object. May be called again.

        All but the last have a multiple of 1 MiB, at least 8 MiB. A service that publishes with the last part
        does it here: ``last`` is True only when the writer commits and all other parts have arrived.
        """

    async def complete(self) -> None:
        """Publish the object. May be called again. Does nothing if the last part has published it."""

    async def discard(self) -> None:
        """Discard what was sent. Called when no part is in flight any more."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing; ``next`` is the service's token for the next page, None at the end."""

    entries: Sequence[Entry]
    next: str | None


@dataclass(frozen=True, slots=True)
class Direct:
    """obstore's store for a bucket, called without the event loop; ``writes``: whether to write with it.

    ``version``: the key of an object's metadata that corresponds to the version of a `Body`.
    """

    store: Any
    writes: bool
    version: Literal["e_tag", "version"]


class Service(Protocol):
    """One SDK's client, connected, on the running event loop. Any method may raise what the SDK raises."""

    async def get(self, name: str, start: int, end: int | None, version: str | None) -> Body:
        """Start reading bytes ``start`` to ``end`` (exclusive, more than ``start``; None: to the end).

        With ``version``, any other version is `Kind.CHANGED`.
        """

    async def head(self, name: str) -> Entry:
        """The object's size and time; ``key`` is the name.

        A missing object must be confirmed by the service: a response without a body, as to a HEAD, is not
        enough.
        """

    async def put(self, name: str, data: Payload, *, version: str | None = None) -> None:
        """Send and publish an object in one request.

        With ``version`` (as in `Body`, or `FREE`), `Kind.CHANGED` or `Kind.ABSENT` unless this is the
        version that is there.
        """

    async def honours_conditions(self, prefix: str) -> bool:
        """Try whether ``put`` heeds its versions. May leave one object below the prefix that is not a key."""

    async def begin(self, name: str) -> Upload:
        """Start sending an object in parts."""

    async def page(self, prefix: str, after: str | None) -> Page:
        """List a page of the names that begin with ``prefix``, never cached. ``after``: the last ``next``."""

    async def delete(self, name: str) -> None:
        """Delete the object; a missing one is `Kind.ABSENT`, or not an error."""

    async def touch(self, name: str) -> None:
        """Make the service's time of the object that of now, without sending its bytes.

        A missing object is `Kind.ABSENT`.
        """

    async def signed_url(self, name: str, seconds: int) -> str | None:
        """A URL of the object that anybody may read for so long; None if these credentials cannot sign."""

    async def direct(self, seconds: float) -> Direct:
        """The same bucket through obstore, at the same address and with the same credentials.

        It tries once, and fails after ``seconds`` of silence. Called only if obstore is installed.
        """

    def failure(self, error: Exception) -> Failure | None:
        """Classify an error that a method of this service (or of its bodies and uploads) raised.

        None: it is a bug and not an error of the service. `Kind.ABSENT` only with the service's error code
        for a missing object.
        """

    async def renew(self) -> None:
        """Find the credentials again, after `Kind.EXPIRED`. Running reads and writes continue.

        Raises `ConfigError`, or what the SDK raises.
        """

    async def close(self) -> None:
        """Close the connections."""


class Outcome(enum.Enum):
    """What became of a conditional write on a `Shortcut`."""

    PUBLISHED = "the condition held"
    REFUSED = "the condition did not hold"
    UNKNOWN = "the request may have reached the service, or not"
    UNTRIED = "nothing was sent"


class VersionedReader(Reader, Protocol):
    """``version``: that of the object that is read, as in `Body`."""

    version: str


class Shortcut(Protocol):
    """A faster way for some requests of a session, which may decline any of them."""

    def open(self, name: str, doing: str, start: int, end: int | None) -> VersionedReader | None:
        """Start reading; None: ask the service. Raises `NotFoundError` if the service reports that."""

    def put(self, name: str, data: Payload) -> bool:
        """Publish an object; False: unknown result, send it to the service."""

    def put_if(self, name: str, data: bytes, version: str) -> Outcome:
        """Publish an object if this is the version that is there, as `Service.put`."""
