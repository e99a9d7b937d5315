"""A bucket in virtual time: latency, bandwidth, the limits that S3 and Google state, and prices."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MB = 10**6
MILLION = 10**6
PAGE = 1000
"""Names in one response to a listing."""

ANY = object()
"""As the version that is there: whichever it is."""


@dataclass(frozen=True)
class Rules:
    """What a service allows, and what it charges.

    ``reads``, ``writes``: requests in each second, of a folder if ``by_folder``, else of the whole bucket.
    ``same_object``: seconds after a change of an object in which it is not changed again. Dollars are those
    of a million requests: a GET or HEAD; a PUT, POST or LIST. ``part``: bytes of each request of an upload in
    parts; 0: whatever its size, a big object is one request that opens a session, and one that sends it.
    """

    name: str
    reads: int
    writes: int
    by_folder: bool
    same_object: float
    dollars_to_read: float
    dollars_to_write: float
    part: int

    def requests_to_send(self, size: int) -> list[int]:
        """The bytes of each request of an upload."""
        if size <= PART:
            return [size]
        if not self.part:
            return [0, size]
        whole, rest = divmod(size, self.part)
        return [0, *([self.part] * whole), *([rest] if rest else []), 0]


PART = 8 << 20
"""Bytes up to which an object is one request, as in layercache's backends."""

S3 = Rules("S3", 5500, 3500, True, 0.0, 0.40, 5.00, PART)
GCS = Rules("GCS", 5000, 1000, False, 1.0, 0.40, 5.00, 0)
"""Google states what a bucket takes at first; over some 20 minutes it would take more."""


class RefusedError(Exception):
    """Too many requests: 503 Slow Down, or 429."""


class Link:
    """Bytes that pass one after the other, ``rate`` of them a second: a network card, a registry's uplink."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free = 0.0

    def passed(self, size: float) -> float:
        """When these bytes will have passed, behind all that came before."""
        self._free = max(self._free, time.monotonic()) + size / self.rate
        return self._free


@dataclass(frozen=True)
class Network:
    """``latency`` of a request in seconds, its half to the server; ``stream``: bytes a second of one stream;
    ``links`` that all streams share.
    """

    latency: float
    stream: float
    links: tuple[Link, ...]

    def travel(self, pause: float = 0.0) -> None:
        """A request or a response travels: half the latency, give or take a fifth. Then there is a pause."""
        time.sleep(self.latency / 2 * random.uniform(0.8, 1.2) + pause)

    def carry(self, size: float) -> None:
        """Bytes travel."""
        if size:
            arrived = max(time.monotonic() + size / self.stream, *(link.passed(size) for link in self.links))
            time.sleep(arrived - time.monotonic())


@dataclass
class Stored:
    data: bytes
    modified: float
    version: str


@dataclass
class Bucket:
    """The service's side. ``others``: objects of other images that are in each folder as well.

    ``stands_for``: bytes that a simulated blob stands for, by its key. ``asked`` counts requests that were
    served, by kind and folder; ``refused`` those that were not, which nobody charges. ``busiest``: the most
    reads and writes that came in one second to one folder.
    """

    rules: Rules
    others: int = 0
    stands_for: Mapping[str, int] = field(default_factory=dict)
    objects: dict[str, Stored] = field(default_factory=dict)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    busiest: Counter[str] = field(default_factory=Counter)
    clock: Callable[[], float] = time.monotonic
    _versions: int = 0
    _window: tuple[int, Counter[tuple[str, str]]] = field(default_factory=lambda: (0, Counter()))
    _changed: dict[str, float] = field(default_factory=dict)

    def get(self, key: str, kind: str = "GET") -> Stored:
        self._admit(kind, key)
        try:
            return self.objects[key]
        except KeyError:
            raise NotFoundError(f"{key} does not exist") from None

    def put(self, key: str, data: bytes, version: object = ANY) -> bool:
        """Publish, if ``version`` is there; None: if nothing is. Empty ``data`` deletes under a condition."""
        self._admit("PUT", key)
        there = self.objects.get(key)
        if version is not ANY and version != (there.version if there else None):
            return False
        now = self.clock()
        if now < self._changed.get(key, -MILLION) + self.rules.same_object:
            self.asked["PUT", folder(key)] -= 1
            self._refuse("PUT", key)
        self._versions += 1
        self._changed[key] = now
        if data or version is ANY or there is None:
            self.objects[key] = Stored(data, time.time(), str(self._versions))
        else:
            del self.objects[key]
        return True

    def send_part(self, key: str) -> None:
        """A request of an upload that publishes nothing yet."""
        self._admit("PUT", key)

    def delete(self, key: str) -> None:
        self._admit("DELETE", key)
        self._changed[key] = self.clock()
        self.objects.pop(key, None)

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """What a listing returns, a response for each page."""
        names = sorted(name for name in self.objects if name.startswith(prefix))
        for page in range(1 + (len(names) + self.others - 1) // PAGE):
            self._admit("LIST", prefix)
            yield names[PAGE * page : PAGE * (page + 1)]

    def size(self, key: str) -> int:
        """The bytes that an object stands for."""
        return self.stands_for.get(key, len(self.objects[key].data) if key in self.objects else 0)

    @property
    def dollars(self) -> float:
        """What the requests cost. Deleting is free, as is traffic inside a region."""
        rules, total = self.rules, Counter[str]()
        for (kind, _), count in self.asked.items():
            total[kind] += count
        reads, writes = total["GET"] + total["HEAD"], total["PUT"] + total["LIST"]
        return (reads * rules.dollars_to_read + writes * rules.dollars_to_write) / MILLION

    def _admit(self, kind: str, key: str) -> None:
        """Count a request, unless there were too many in this second."""
        what = "read" if kind in ("GET", "HEAD", "LIST") else "write"
        where = (folder(key) if self.rules.by_folder else ""), what
        second, counts = self._window
        if second != (now := int(self.clock())):
            counts = Counter()
            self._window = now, counts
        count = counts[where] = counts[where] + 1
        if count > self.busiest[what]:
            self.busiest[what] = count
        if count > (self.rules.reads if what == "read" else self.rules.writes):
            self._refuse(kind, key)
        self.asked[kind, folder(key)] += 1

    def _refuse(self, kind: str, key: str) -> None:
        self.refused[kind, folder(key)] += 1
        raise RefusedError(f"{kind} {key}: slow down")


def folder(key: str) -> str:
    return key.partition("/")[0]
