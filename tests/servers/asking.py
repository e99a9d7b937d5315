"""Requests to a mirror's service in this process, without HTTP below."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from layercache.serve.messages import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable

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
    service: Service, path: str, method: str = "GET", *, headers: dict[str, str] | None = None, **query: str
) -> Answered:
    """Ask as the application does: first what is answered from memory, then what may wait."""
    request = Request(method, path, query, Fields(headers or {}))
    quick = service.quick(request)
    answer = service.answer(request) if quick is None else quick
    assert isinstance(answer, Answer)
    found = {name.lower(): value for name, value in answer.headers}
    return Answered(answer.status, found, answer.body, quick is not None)
