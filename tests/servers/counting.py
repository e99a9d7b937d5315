"""A proxy that makes each response late, and counts requests: of what kind, and how many in turn."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.testing.proxy import Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = "layercache.json"
"""The object that says which format a store has: it is read once a process, beside the first question."""

GET_PRICE, PUT_PRICE = 0.40, 5.00
"""Dollars a million requests at S3 and at Google Cloud Storage: of reads; of writes and listings."""

_LISTING = re.compile(r"[?&](?:prefix|list-type|delimiter)=|/tags/list|/_catalog")
_READ = re.compile(r"(?:GET|HEAD) ")


@dataclass(frozen=True)
class Exchange:
    """A request, and when it came (seconds of the monotonic clock)."""

    request: str
    began: float

    @property
    def is_listing(self) -> bool:
        return self.request.startswith("GET ") and _LISTING.search(self.request) is not None

    @property
    def price(self) -> float:
        """Dollars a million of it; deleting is free."""
        if self.request.startswith("DELETE "):
            return 0.0
        return GET_PRICE if _READ.match(self.request) and not self.is_listing else PUT_PRICE


@dataclass
class Cost:
    """What an operation asked for, without the store's format marker."""

    latency: float
    seconds: float = 0.0
    asked: list[Exchange] = field(default_factory=list)

    @property
    def exchanges(self) -> list[Exchange]:
        """In the order in which they came."""
        return sorted(self.asked, key=lambda each: each.began)

    @property
    def requests(self) -> list[str]:
        return [each.request for each in self.exchanges]

    @property
    def listings(self) -> list[str]:
        return [each.request for each in self.exchanges if each.is_listing]

    @property
    def round_trips(self) -> int:
        """The most requests of which each came after the response to the one before could have been there."""
        trips, answered = 0, 0.0
        for each in self.exchanges:
            if each.began >= answered:
                trips, answered = trips + 1, each.began + self.latency
        return trips

    @property
    def price(self) -> float:
        """Dollars for a million such operations."""
        return sum(each.price for each in self.exchanges)


class CountingProxy(FaultProxy):
    """A `FaultProxy` whose responses are all ``latency`` seconds late."""

    def __init__(self, port: int, latency: float) -> None:
        super().__init__(port)
        self.always = Fault(latency=latency)
        self._costs: list[Cost] = []

    def set_latency(self, seconds: float) -> None:
        self.always = Fault(latency=seconds)

    @contextmanager
    def counted(self) -> Iterator[Cost]:
        """Count what is asked inside the block."""
        self._costs.append(cost := Cost(self.always.latency))
        begun = time.monotonic()
        try:
            yield cost
        finally:
            cost.seconds = time.monotonic() - begun
            self._costs.remove(cost)

    def _choose(self, head: bytes) -> Fault:
        began, fault = time.monotonic(), super()._choose(head)
        request = b" ".join(head.partition(b"\r\n")[0].split(b" ")[:2]).decode("latin-1")
        if MARKER not in request:
            for cost in list(self._costs):
                cost.asked.append(Exchange(request, began))
        return fault
