"""What happens in a cache, told to whoever watches: for progress bars, statistics and tests."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form


Kind = Literal[
    "hit",
    "fetching",
    "fetched",
    "inflating",
    "inflated",
    "bytes",
    "stored",
    "skipped",
    "mislabelled",
    "unconfirmed",
    "failed",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    =========== ======================================================================================
    kind        meaning
    =========== ======================================================================================
    hit         a form was there: opened in the tier ``where``, or found stored there by ``fill``
    fetching    a blob starts to come from a source or a farther tier
    bytes       ``size`` more bytes of it have come, or more bytes of a tar were inflated
    fetched     the blob has come, whole and verified; ``size`` bytes
    inflating   a tar starts to be made
    inflated    the tar was made and hashed; ``size`` bytes
    stored      a blob was published in the tier ``where``; ``size`` bytes
    skipped     a foreign layer was passed over
    mislabelled the bytes are right, and what is stated of them is not: a size, a media type; ``note``
                says how
    unconfirmed what an image's tag names was taken from ``where`` alone, which is not trusted; ``note`` says
                which image
    failed      an entry in the tier ``where`` was passed over, or (``name`` None) the whole tier;
                ``note`` says why
    =========== ======================================================================================

    ``name`` is the digest for the compressed form, and for the uncompressed one the diff ID, or the
    digest while the diff ID is not known. ``total`` is the expected number of bytes where it is known.
    """

    kind: Kind
    name: Hash | None
    form: Form
    where: str
    size: int = 0
    total: int | None = None
    note: str = ""


@dataclass(slots=True)
class Counters:
    """What a `Cache` did since it was opened. Bytes are those of the form in question."""

    hits: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    inflated: int = 0
    inflated_bytes: int = 0
    stored: int = 0
    stored_bytes: int = 0
    skipped: int = 0
    failed: int = 0


class Observers:
    """Counts every event and hands it to each watcher, in the thread in which it happened."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._watchers: tuple[Callable[[Event], object], ...] = ()
        self._lock = threading.Lock()

    @contextmanager
    def watch(self, watcher: Callable[[Event], object]) -> Iterator[None]:
        with self._lock:
            self._watchers = (*self._watchers, watcher)
        try:
            yield
        finally:
            with self._lock:
                left = list(self._watchers)
                left.remove(watcher)
                self._watchers = tuple(left)

    @property
    def watched(self) -> bool:
        return bool(self._watchers)

    def emit(self, event: Event) -> None:
        counters = self.counters
        with self._lock:
            match event.kind:
                case "hit":
                    counters.hits += 1
                case "fetched":
                    counters.fetched += 1
                    counters.fetched_bytes += event.size
                case "inflated":
                    counters.inflated += 1
                    counters.inflated_bytes += event.size
                case "stored":
                    counters.stored += 1
                    counters.stored_bytes += event.size
                case "skipped":
                    counters.skipped += 1
                case "failed":
                    counters.failed += 1
                case _:
                    pass
        for watcher in self._watchers:
            watcher(event)
