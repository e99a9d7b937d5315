"""Requests and answers, as the parts of the mirror exchange them. None of them knows the server below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import field

from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Headers = list[tuple[str, str]]

API_VERSION = ("docker-distribution-api-version", "registry/2.0")
"""The header by which clients know a registry's own answer from that of a proxy in front of it."""

READS = ("GET", "HEAD")
"""Methods that change nothing."""


class RequestHeaders(Protocol):
    """The headers of a request, by name in lower case. ``get``: the first of that name."""

    def get(self, key: str, default: str, /) -> str: ...

    def items(self) -> Iterable[tuple[str, str]]: ...


class Request(Value, frozen=True):
    """A request. ``path`` is decoded; ``query``: the last value of each key; ``tags``: each value of ``tag``.

    ``body``: the parts of its body as they arrive, to be read in a thread that may wait; None where there is
    none.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: RequestHeaders
    client: str = ""
    scheme: str = "http"
    body: Iterator[bytes] | None = None
    tags: tuple[str, ...] = ()


class Answer(Value, frozen=True):
    """A short answer. A HEAD's has the headers of the GET, Content-Length among them, and no body."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


class FileAnswer(Value, frozen=True):
    """Bytes ``start`` to ``end`` (exclusive) of a file, which the server below sends without Python."""

    status: int
    headers: Headers
    path: str
    start: int
    end: int


class Pieces(Protocol):
    """Where the bytes of a `StreamAnswer` come from. Used by one thread at a time, which may wait."""

    def read(self) -> bytes:
        """The next bytes, some hundred KiB at most; nothing at the end."""

    def splice_to(self, pipe: int) -> int:
        """Put the next bytes into a pipe, without their passing through this process; return their number.

        0 where that cannot be done, or not now: then `read` them.
        """

    def close(self) -> None: ...


class StreamAnswer(Value, frozen=True):
    """Bytes that are on their way: ``first``, which have come, and ``rest``.

    The headers have a Content-Length: that is how a client notices that bytes are missing, since an error
    can only end the connection.
    """

    status: int
    headers: Headers
    first: bytes
    rest: Pieces


class Later(Value, frozen=True):
    """An answer that waits: for an upstream, or for a blob that another client or machine may be fetching.

    ``find`` is called in one of the threads for streams, of which there are many.
    """

    find: Callable[[], AnyAnswer]


class EventsAnswer(Value, frozen=True):
    """Server-sent events. ``following`` returns the next text to send, at once; None ends the answer."""

    status: int
    headers: Headers
    following: Callable[[], str | None]


AnyAnswer = Answer | FileAnswer | StreamAnswer | Later | EventsAnswer


class RegistryError(Exception):
    """An error as the distribution-spec has it ("Error Codes"): status, code, message, detail."""

    def __init__(
        self, status: int, code: str, message: str, *, detail: object = None, headers: Headers | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = headers or []

    def answer(self) -> Answer:
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        body = msgspec.json.encode({"errors": [error]}, enc_hook=str)
        kind = [("content-type", "application/json"), ("content-length", str(len(body)))]
        return Answer(self.status, [*kind, API_VERSION, *self.headers], body)


def json_answer(document: object, headers: Headers, *, media_type: str = "application/json") -> Answer:
    """An answer with a JSON document."""
    body = msgspec.json.encode(document, enc_hook=str)
    kind = [("content-type", media_type), ("content-length", str(len(body)))]
    return Answer(200, [*kind, *headers], body)
