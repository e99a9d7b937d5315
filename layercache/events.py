"""Events of a cache, for progress bars, statistics and tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form


Kind = Literal[
    "hit",
    "fetching",
    "fetched",
    "inflating",
    "inflated",
    "compressing",
    "compressed",
    "bytes",
    "stored",
    "skipped",
    "mislabelled",
    "unconfirmed",
    "imported",
    "refreshed",
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
    bytes       ``size`` more bytes of a blob were received, of a tar inflated, or of a tar compressed
    fetched     a blob was received completely and verified; ``size`` bytes
    inflating   inflating a blob into its tar started
    inflated    a tar was inflated and hashed; ``size`` bytes
    compressing compressing a tar into a new blob started; ``name`` is the diff ID
    compressed  the new blob was inflated again and compared with the tar; ``size`` bytes
    stored      a blob was published in the tier ``where``; ``size`` bytes
    skipped     a foreign layer was skipped
    mislabelled the bytes are right, but a stated size or media type is wrong; ``note`` says which
    unconfirmed a tag was resolved by the untrusted tier ``where`` only; or the tag of an image in the layout
                or archive ``where`` was not taken, since a registry gave it to another image; ``note`` says
                which
    imported    an image of the layout or archive ``where`` was recorded; ``note`` is its reference
    refreshed   a blob in the bucket ``where`` got a new time there because it is used
    failed      an entry of the tier ``where`` was skipped, or, if ``name`` is None, the whole tier; or an
                observer failed and was dropped; ``note`` says why
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
    refreshed: int = 0
    failed: int = 0


class PassObserver(Protocol):
    """Sees the bytes of one form of a layer while they are fetched or inflated.

    Registered with `Cache.observe`, by a factory that makes one for each pass. A pass is one transfer of a
    form, however many read along; where no tier keeps the form, each reader makes a separate pass. A read
    of what the nearest tier has already is not a pass: its bytes are not hashed again.

    Calls come one at a time, but perhaps from different threads: those that read the pass's source. A slow
    observer slows down the pass. It must not read the same layer from the cache: it would wait for itself.

    An exception that an observer raises does not harm the pass or its readers: the observer is dropped, gets
    no further call, and a ``failed`` event says why.
    """

    def data(self, chunk: bytes, /) -> object:
        """The next bytes, before they are hashed: each byte once, in order, none of them verified yet."""

    def end(self, found: Hash, /) -> object:
        """All bytes have come and are verified; this is their hash. Called before any reader gets the last.

        Whether a tier stored them is another matter: a ``stored`` event says so.
        """

    def failed(self, error: BaseException, /) -> object:
        """The pass ended in this error, or was given up. Then ``end`` is never called."""


ObserverFactory = Callable[["Hash | None", "Form", "int | None"], "PassObserver | None"]
"""Called when a pass begins, with name, form and expected size in bytes; None: do not observe this pass.

The name is that of the `Event`; None for a blob that is put, whose hash is not known yet.
"""

_T = TypeVar("_T")


class _Registered(Generic[_T]):
    """What is called, each for as long as its ``with`` block runs."""

    # Those who call read the tuple without the lock: it is replaced, never changed.

    def __init__(self) -> None:
        self.items: tuple[_T, ...] = ()
        self._lock = threading.Lock()

    @contextmanager
    def add(self, item: _T) -> Iterator[None]:
        with self._lock:
            self.items = (*self.items, item)
        try:
            yield
        finally:
            with self._lock:
                left = list(self.items)
                left.remove(item)
                self.items = tuple(left)


class Observers:
    """Counts events, hands each to the watchers, in the thread in which it happened, and makes observers."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._watchers: _Registered[Callable[[Event], object]] = _Registered()
        self._factories: _Registered[ObserverFactory] = _Registered()
        self._lock = threading.Lock()

    def watch(self, watcher: Callable[[Event], object]) -> AbstractContextManager[None]:
        return self._watchers.add(watcher)

    def observe(self, factory: ObserverFactory) -> AbstractContextManager[None]:
        return self._factories.add(factory)

    @property
    def observed(self) -> bool:
        """Whether passes have observers at all."""
        return bool(self._factories.items)

    def begin_pass(self, name: Hash | None, form: Form, size: int | None) -> list[PassObserver]:
        """The observers of a pass that begins."""
        observers = []
        for factory in self._factories.items:
            try:
                if observer := factory(name, form, size):
                    observers.append(observer)
            except Exception as error:
                self.drop(name, form, error)
        return observers

    def drop(self, name: Hash | None, form: Form, error: Exception) -> None:
        """Report that an observer of this pass failed, and sees no more of it."""
        self.emit(Event("failed", name, form, "an observer", note=f"{type(error).__name__}: {error}"))

    @property
    def watched(self) -> bool:
        return bool(self._watchers.items)

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
                case "refreshed":
                    counters.refreshed += 1
                case "failed":
                    counters.failed += 1
                case _:
                    pass
        for watcher in self._watchers.items:
            watcher(event)
