"""One machine's backend for the simulated bucket: what layercache's own backends ask, and how they retry."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from simulation.bucket import ANY, Bucket, Network, RefusedError

from layercache.backend import Entry, SinkBase, check_range, not_small
from layercache.backend.interface import SMALL_OBJECT
from layercache.errors import BackendError
from layercache_backends.objects.backend import DEFAULT_TIMEOUT
from layercache_backends.objects.deadline import Deadline
from layercache_backends.objects.service import Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from _typeshed import ReadableBuffer, WriteableBuffer

_T = TypeVar("_T")

_LIMITED = Failure(Kind.LIMITED, "slow down")

PIECE = 25 << 20
"""Bytes that arrive at a time: small enough that streams share a link fairly, big enough to be quick."""


class Pieces:
    """A stream whose bytes take time: ``stands_for`` bytes travel for all of ``data``."""

    modified: float | None = None

    def __init__(self, data: bytes, stands_for: int, network: Network) -> None:
        self.size: int | None = len(data)
        count = max(1, -(-stands_for // PIECE))
        self._step = max(1, -(-len(data) // count))
        self._bytes_each = stands_for / len(data) if data else 0.0
        self._data, self._at, self._network = data, 0, network

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        piece = self._data[self._at : self._at + min(size, self._step)]
        self._network.carry(len(piece) * self._bytes_each)
        self._at += len(piece)
        return piece

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer) as view:
            piece = self.read(len(view))
            view[: len(piece)] = piece
        return len(piece)

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._data = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SimulatedStore:
    """A backend with conditional writes. One request is one call of the bucket, retried as in `Deadline`."""

    def __init__(self, bucket: Bucket, network: Network, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.url = f"{bucket.rules.name.lower()}://simulated"
        self._bucket, self._network, self._timeout = bucket, network, timeout

    def open(self, key: str, start: int = 0, end: int | None = None) -> Pieces:
        check_range(start, end)
        found = self._ask(f"reading {key}", lambda: self._bucket.get(key))
        part = found.data[start:end]
        share = len(part) / len(found.data) if found.data else 0
        reader = Pieces(part, round(self._bucket.size(key) * share), self._network)
        reader.modified = found.modified
        return reader

    def create(self, key: str) -> _Sink:
        return _Sink(self, key)

    def stat(self, key: str) -> Entry:
        found = self._ask(f"looking at {key}", lambda: self._bucket.get(key, "HEAD"))
        return Entry(key, len(found.data), found.modified)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        pages = self._bucket.pages(prefix)
        while (page := self._ask(f"listing {prefix}", lambda: next(pages, None))) is not None:
            for key in page:
                stored = self._bucket.objects[key]
                yield Entry(key, len(stored.data), stored.modified)

    def delete(self, key: str) -> None:
        self._ask(f"deleting {key}", lambda: self._bucket.delete(key))

    def create_new(self, key: str, data: bytes) -> bool:
        """As `Exclusive.create_new`."""
        return self.send(key, data, lambda _sent: None, version=None)

    def honours_conditions(self) -> bool:
        """As `Conditional.honours_conditions`. Finding out once a process is not part of the simulation."""
        return True

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        found = self._ask(f"reading {key}", lambda: self._bucket.get(key))
        if len(found.data) > SMALL_OBJECT:
            raise not_small(f"{self.url}: reading {key}")
        return found.data, found.version

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        return self._ask(f"writing {key}", lambda: self._bucket.put(key, data, version))

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def send(self, key: str, data: bytes, sent: Callable[[int], object], version: object = ANY) -> bool:
        """Upload an object in as many requests as the service's backend needs."""
        stands_for = self._bucket.stands_for.get(key, len(data))
        *parts, last = self._bucket.rules.requests_to_send(stands_for)
        done = 0
        for size in parts:
            self._network.carry(size)
            self._ask(f"writing {key}", lambda: self._bucket.send_part(key))
            done += size
            sent(len(data) * done // max(1, stands_for))
        self._network.carry(last)
        return self._ask(f"writing {key}", lambda: self._bucket.put(key, data, version))

    def _ask(self, doing: str, act: Callable[[], _T]) -> _T:
        """One request, and others while the service refuses it and there is time. Raises `BackendError`."""
        began, deadline = time.monotonic(), None
        while True:
            self._network.travel()
            try:
                answer = act()
            except RefusedError as error:
                spent = (
                    time.monotonic() - began + self._network.latency / 2
                )  # the response has to arrive, too
                deadline = deadline or Deadline(self._timeout, spent)
                if not self._may_retry(deadline):
                    raise BackendError(f"{self.url}: {doing}: {error}") from error
            except BaseException:
                self._network.travel()
                raise
            else:
                self._network.travel()
                return answer

    def _may_retry(self, deadline: Deadline) -> bool:
        """Wait for the response that refuses the request, and as long as the backends pause then.

        That is one sleep: a fleet in front of a busy service does little else.
        """
        again = deadline.again(_LIMITED)
        try:
            pause = again.send(None)
        except StopIteration:
            self._network.travel()
            return False
        self._network.travel(pause)
        with suppress(StopIteration):
            again.send(None)
        return True


class _Sink(SinkBase):
    """An upload that begins with ``commit``. ``sent``: as in `Counting`."""

    def __init__(self, store: SimulatedStore, key: str) -> None:
        self.sent = 0
        self._store, self._key, self._data = store, key, bytearray()

    def write(self, data: ReadableBuffer, /) -> None:
        self._data += memoryview(data).cast("B")

    def commit(self) -> None:
        self._store.send(self._key, bytes(self._data), self._note)

    def abort(self) -> None:
        self._data.clear()

    def _note(self, sent: int) -> None:
        self.sent = sent
