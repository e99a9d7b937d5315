"""The access log: a line for each request, as text or JSON, on stdout."""

from __future__ import annotations

import base64
import binascii
import json
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.serve.logs import timestamp
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

PENDING_MAX = 10_000
"""Lines that wait to be written, for a reader of the log who stalls. Further ones are dropped."""

BATCH = 4096
"""Bytes that are written at a time: no more than a pipe takes as one (PIPE_BUF), since workers share it."""

TEXT_MAX = 1024
"""Characters of a path, and of a client's description of itself."""


class Entry(Value, frozen=True):
    """A request and its answer.

    ``time``: of its arrival, in seconds since 1970. ``seconds``: until its answer began. ``size``: bytes of
    the body, as announced; None if that is not known. ``cache``: "hit", "miss", "stale" or "".
    """

    time: float
    seconds: float
    client: str
    authorization: str
    method: str
    target: str
    status: int
    size: int | None
    cache: str
    agent: str


class AccessLog:
    """Writes entries, some time after they were added, so that no request waits for a reader of the log.

    Thread-safe. The lock guards what waits; a second one is held while lines are written, so that they keep
    their order and `add` never waits for the reader.
    """

    def __init__(self, form: Callable[[Entry], str], descriptor: int = 1) -> None:
        self._form = form
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._pending: list[Entry] = []
        self.dropped = 0

    def add(self, entry: Entry) -> None:
        with self._lock:
            if len(self._pending) < PENDING_MAX:
                self._pending.append(entry)
            else:
                self.dropped += 1

    def flush(self) -> None:
        """Write what waits. May wait for the reader. A log without a reader is not an error."""
        with self._writing:
            with self._lock:
                entries, self._pending = self._pending, []
            batch = b""
            with suppress(OSError):
                for entry in entries:
                    line = f"{self._form(entry)}\n".encode()
                    if batch and len(batch) + len(line) > BATCH:
                        _write(self._descriptor, batch)
                        batch = b""
                    batch += line
                _write(self._descriptor, batch)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def text(entry: Entry) -> str:
    """A line for people: what a client sent is quoted, so that it cannot look like another line."""
    return " ".join(
        [
            timestamp(entry.time),
            entry.client or "-",
            _quoted(user) if (user := _user(entry)) else "-",
            _quoted(f"{entry.method} {entry.target}"),
            str(entry.status),
            "-" if entry.size is None else str(entry.size),
            f"{entry.seconds:.4f}",
            entry.cache or "-",
            _quoted(entry.agent),
        ]
    )


def as_json(entry: Entry) -> str:
    """An object in a line."""
    return json.dumps(
        {
            "time": timestamp(entry.time),
            "client": entry.client,
            "user": _user(entry),
            "method": entry.method,
            "path": _cut(entry.target),
            "status": entry.status,
            "bytes": entry.size,
            "seconds": round(entry.seconds, 6),
            "cache": entry.cache or None,
            "agent": _cut(entry.agent),
        }
    )


FORMS: dict[str, Callable[[Entry], str]] = {"text": text, "json": as_json}


def _user(entry: Entry) -> str | None:
    """The name that a client gave, if it was let in. Never a password or a token."""
    kind, _, value = entry.authorization.partition(" ")
    if kind.lower() != "basic" or entry.status in (401, 403):
        return None
    try:
        return _cut(base64.b64decode(value, validate=True).decode().partition(":")[0])
    except (binascii.Error, UnicodeDecodeError):
        return None


def _cut(given: str) -> str:
    return given if len(given) <= TEXT_MAX else f"{given[:TEXT_MAX]}…"


def _quoted(given: str) -> str:
    """In quotes, in ASCII, with what would end the line or the quotes escaped as in JSON."""
    return json.dumps(_cut(given))
