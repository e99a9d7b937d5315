"""Requests to a mirror's service in this process, without HTTP below."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from layercache.serve.messages import Answer, EventsAnswer, FileAnswer, Later, Request, StreamAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.serve.service import Service

    Serve = Callable[..., Service]
    """Starts a mirror with these settings."""


class Fields(dict[str, str]):
    """Headers of a request: a value with line breaks stands for several headers of that name."""

    def get(self, key: str, default: str = "", /) -> str:  # type: ignore[override]
        return self[key].partition("\n")[0] if key in self else default

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
        return [(name, line) for name in self for line in self[name].splitlines()]


class Answered(NamedTuple):
    """An answer. ``headers``: names in lower case. ``quick``: it was given from memory."""

    status: int
    headers: dict[str, str]
    body: bytes
    quick: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.json["errors"][0]["code"])


def ask(
    service: Service,
    path: str,
    method: str = "GET",
    *,
    headers: dict[str, str] | None = None,
    body: bytes | Iterator[bytes] | None = None,
    **query: str,
) -> Answered:
    """Ask as the application does: first what is answered from memory, then what may wait.

    ``path`` may have a query of its own, ``body`` may come in parts.
    """
    path, _, more = path.partition("?")
    pairs = [*parse_qsl(more, keep_blank_values=True), *query.items()]
    tags = tuple(value for name, value in pairs if name == "tag")
    parts = iter([body]) if isinstance(body, bytes) else body
    request = Request(method, path, dict(pairs), Fields(headers or {}), body=parts, tags=tags)
    quick = service.quick(request)
    answer = service.answer(request) if quick is None else quick
    while isinstance(answer, Later):
        answer = answer.find()
    assert not isinstance(answer, EventsAnswer)
    found = {name.lower(): value for name, value in answer.headers}
    return Answered(answer.status, found, _body(answer), quick is not None)


def _body(answer: Answer | FileAnswer | StreamAnswer) -> bytes:
    match answer:
        case Answer():
            return answer.body
        case FileAnswer():
            with open(answer.path, "rb") as file:
                file.seek(answer.start)
                return file.read(answer.end - answer.start)
        case StreamAnswer():
            with closing(answer.rest):
                return answer.first + b"".join(iter(answer.rest.read, b""))
