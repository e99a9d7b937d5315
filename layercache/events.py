"""Events of a cache, for progress bars, statistics and tests."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from layercache.statistics.counters import Tallies
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from logging import Logger

    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.statistics.counters import Counters, Saved
    from layercache.statistics.places import Place


Kind = Literal[
    "hit",
    "waiting",
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
    "unindexed",
    "imported",
    "refreshed",
    "finishing",
    "given_up",
    "failed",
    "recovered",
]


class Event(Value, frozen=True):
    """One thing that happened.

    =========== ======================================================================================
    kind        meaning
    =========== ======================================================================================
    hit         a form was cached: opened in the tier ``where``, or found there by ``fill``
    waiting     another machine, ``note``, fetches a blob for all into the tier ``where``, and is as far as if
                ``size`` of its bytes were there. Repeated as it gets on
    fetching    a transfer of a blob from a source or a farther tier started
    bytes       ``size`` more bytes of a blob were received, or of a tar inflated
    fetched     a blob was received completely and verified; ``size`` bytes. From a tier, this is a hit
    inflating   inflating a blob into its tar started
    inflated    a tar was inflated and hashed; ``size`` bytes, in ``seconds`` of processor time
    compressing compressing a tar into a new blob started; ``name`` is the diff ID
    compressed  the new blob was inflated again and compared with the tar; ``size`` bytes
    stored      a blob was published in the tier ``where``; ``size`` bytes
    skipped     a foreign layer was skipped
    mislabelled the bytes are right, but a stated size or media type is wrong; ``note`` says which
    unconfirmed a tag was resolved by the untrusted tier ``where`` only; or the tag of an image in the layout
                or archive ``where`` was not taken, since a registry gave it to another image; ``note`` says
                which
    unindexed   gzip layers are read as a whole, since a package is missing that ``note`` names. Only once
    imported    an image of the layout or archive ``where`` was recorded; ``note`` is its reference
    refreshed   a blob in the bucket ``where`` got a new time there because it is used
    finishing   a transfer that has lost its readers after ``size`` bytes goes on in the background
    given_up    a transfer ended early, and none of its ``size`` bytes were kept: its readers left, or nobody
                was left to get the error that ``note`` states
    failed      an entry of the tier ``where`` was skipped, or, if ``name`` is None, the whole tier; or an
                observer failed and was dropped; ``note`` says why
    recovered   the tier or mirror ``where``, which had failed, answers again
    =========== ======================================================================================

    ``name`` is the digest for the compressed form. For the uncompressed form it is the diff ID, or the digest
    if the diff ID is not known yet. ``bytes`` of what is put have no name, since its hash is not known yet.
    ``total`` is the expected number of bytes, if known. ``place`` is where a transfer comes from: set for
    ``fetching`` and ``fetched``. ``saved``: what a hit saved. ``repeated``: a tier or mirror failed again
    that had failed before, and did not answer in between. ``hint``: what to do about a tier that failed.
    """

    kind: Kind
    name: Hash | None
    form: Form
    where: str
    size: int = 0
    total: int | None = None
    note: str = ""
    place: Place | None = None
    saved: Saved = (0, 0)
    seconds: float = 0.0
    repeated: bool = False
    hint: str = ""


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


_WARNING, _INFO, _DEBUG = 30, 20, 10
"""The levels of `logging`, which is not imported for them: that takes a tenth of the interpreter's start."""

_LOGS: dict[Kind, tuple[str, int, str]] = {
    "hit": ("tiers", _DEBUG, "hit: {form} {name} in {where}, {size} bytes"),
    "stored": ("tiers", _DEBUG, "stored {form} {name} in {where}, {size} bytes"),
    "refreshed": ("tiers", _DEBUG, "refreshed the time of {name} in {where}"),
    "failed": ("tiers", _WARNING, "skipped {name} in {where}: {note}"),
    "recovered": ("tiers", _WARNING, "{where} answers again"),
    "unconfirmed": ("tiers", _WARNING, "{where}: {note}"),
    "waiting": (
        "transfers",
        _INFO,
        "waiting for {note}, which fetches {name} into {where}: {size} of {total} bytes",
    ),
    "fetching": ("transfers", _DEBUG, "fetching {form} {name} from {where}"),
    "fetched": ("transfers", _INFO, "fetched {form} {name} from {where}, {size} bytes"),
    "finishing": ("transfers", _DEBUG, "finishing {form} {name} without readers"),
    "given_up": ("transfers", _DEBUG, "gave up {form} {name} after {size} bytes: {note}"),
    "inflating": ("transfers", _DEBUG, "inflating {name}"),
    "inflated": ("transfers", _DEBUG, "inflated {name}, {size} bytes in {seconds:.2f} s"),
    "compressing": ("transfers", _DEBUG, "compressing {name}"),
    "compressed": ("transfers", _DEBUG, "compressed a tar into {name}, {size} bytes"),
    "unindexed": ("transfers", _INFO, "{note}"),
    "imported": ("transfers", _DEBUG, "imported {note} from {where}"),
    "mislabelled": ("transfers", _DEBUG, "{name}: {note}"),
    "skipped": ("transfers", _DEBUG, "skipped the foreign layer {name}"),
}
"""For each kind: the logger below ``layercache``, the level, the message."""


def _log(event: Event) -> None:
    """Write an event to the loggers ``layercache.*``, if the program has imported `logging`.

    A tier or mirror that is lost is a warning once; until it answers again, its failures are for debugging.
    """
    if not _is_logged(event.kind):
        return
    name, level, message = _LOGS[event.kind]
    if event.kind == "failed" and event.name is None:
        level, message = _DEBUG if event.repeated else _WARNING, "{where} failed and is skipped: {note}"
    if (logger := _logger(name)).isEnabledFor(level):
        fields = {field: getattr(event, field) for field in Event.__struct_fields__}
        logger.log(level, "%s", message.format_map(fields), extra={"event": event})


def _is_logged(kind: Kind) -> bool:
    """Whether anybody may see such an event. Without the module nobody has set up a handler."""
    if "logging" not in sys.modules or kind not in _LOGS:
        return False
    name, level, _ = _LOGS[kind]
    return _logger(name).isEnabledFor(level)


_loggers: dict[str, Logger] = {}


def _logger(name: str) -> Logger:
    if not _loggers:
        import logging

        logging.getLogger("layercache").addHandler(logging.NullHandler())
        _loggers.update((each, logging.getLogger(f"layercache.{each}")) for each in ("tiers", "transfers"))
    return _loggers[name]


class Observers:
    """Counts events, logs them, hands each to the watchers, in the thread in which it happened; makes
    observers.
    """

    def __init__(self) -> None:
        self._tallies = Tallies()
        self._watchers: _Registered[Callable[[Event], object]] = _Registered()
        self._factories: _Registered[ObserverFactory] = _Registered()

    @property
    def counters(self) -> Counters:
        """The totals at this moment."""
        return self._tallies.snapshot()

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

    def received(self, place: Place, size: int) -> None:
        """Count bytes as a place gives them, whatever becomes of them."""
        self._tallies.received(place.kind, place.name, size)

    def hit(self, name: Hash, form: Form, where: str, size: int, saved: Saved) -> None:
        """As `emit` of a hit. The event, which costs as much as the rest, is made if somebody sees it."""
        if self._watchers.items or _is_logged("hit"):
            self.emit(Event("hit", name, form, where, size=size, saved=saved))
        else:
            self._tallies.supplied("tier", where, size, saved)

    def emit(self, event: Event) -> None:
        tallies = self._tallies
        match event.kind:
            case "hit":
                tallies.supplied("tier", event.where, event.size, event.saved)
            case "fetched" if event.place is not None:
                # Its bytes were counted as they came.
                tallies.supplied(event.place.kind, event.place.name, 0, event.saved)
            case "inflated":
                tallies.add(inflated=1, inflated_bytes=event.size, inflating_seconds=event.seconds)
            case "stored":
                tallies.add(stored=1, stored_bytes=event.size)
            case "skipped":
                tallies.add(skipped=1)
            case "refreshed":
                tallies.add(refreshed=1)
            case "failed":
                tallies.add(failed=1)
            case _:
                pass
        _log(event)
        for watcher in self._watchers.items:
            watcher(event)
