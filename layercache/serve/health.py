"""Answers ``/healthz``, whether a worker responds at all, and ``/readyz``, whether it can use its cache."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from layercache.errors import BackendError
from layercache.oci.digest import Digest
from layercache.serve.messages import Answer

if TYPE_CHECKING:
    from layercache.tiers.tier import Tier

REMEMBERED = 1.0
"""Seconds for which an answer counts, so that probes cost nothing, however many come."""

_NOTHING = Digest(f"sha256:{'0' * 64}")


def _answer(code: int, **fields: str) -> Answer:
    body = msgspec.json.encode(fields) + b"\n"
    headers = [("content-type", "application/json"), ("cache-control", "no-store")]
    return Answer(code, [*headers, ("content-length", str(len(body)))], body)


ALIVE = _answer(200, status="ok")


class Readiness:
    """Whether the nearest tier responds. Farther tiers and upstreams do not count: without them the mirror
    serves what it has, and if they fail for one mirror they fail for all. Thread-safe: two threads that ask
    at the same time ask the tier twice.
    """

    def __init__(self, nearest: Tier) -> None:
        self._nearest = nearest
        self._last = (ALIVE, 0.0)

    def answer(self) -> Answer:
        """200, or 503 with the reason. May wait for the tier."""
        answer, until = self._last
        if time.monotonic() >= until:
            answer = self._ask()
            self._last = (answer, time.monotonic() + REMEMBERED)
        return answer

    def _ask(self) -> Answer:
        try:
            self._nearest.blobs.has(_NOTHING)
        except BackendError as error:
            return _answer(503, status="failing", tier=self._nearest.name, reason=error.message)
        return ALIVE
