"""Events of a cache, for progress bars, statistics and tests."""

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
    hit         a form was cached: opened in the tier ``where``, or found there by ``fill``
    fetching    a transfer of a blob from a source or a farther tier started
    bytes       ``size`` more bytes of a blob were received, or of a tar inflated
    fetched     a blob was received completely and verified; ``size`` bytes
    inflating   inflating a blob into its tar started
    inflated    a tar was inflated and hashed; ``size`` bytes
    stored      a blob was published in the tier ``where``; ``size`` bytes
    skipped     a foreign layer was skipped
    mislabelled the bytes are right, but a stated size or media type is wrong; ``note`` says which
    unconfirmed a tag was resolved by the untrusted tier ``where`` only; ``note`` names the image
    failed      an entry of the tier ``where`` was skipped, or, if ``name`` is None, the whole tier;
                ``note`` says why
    =========== ======================================================================================

    ``name`` is the digest for the compressed form. For the uncompressed form it is the diff ID, or the digest
    if the diff ID is not known yet. ``total`` is the expected number of bytes, if known.
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
    """Totals of what a `Cache` did since it was opened. Bytes are those of the form in question."""

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
    """Counts every event and passes it to each watcher, in the thread that emits it."""

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
