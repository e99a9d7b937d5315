"""What the program is doing at the moment: steps, transfers and uploads. A display reads it, nothing else."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct, field

from layercache.cli.output import count, human, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.events import Event
    from layercache.resolver.upload_queue import UploadProgress

RATE_SECONDS = 5.0
"""Seconds of the past whose bytes give the rate."""

BIG = 4 << 20
"""Bytes from which a transfer is worth a line: shorter ones would only flicker."""


class Amount(Struct, eq=False):
    """Bytes that are done, of ``total`` if that is known, and how fast they come."""

    total: int | None = None
    done: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def sample(self, now: float) -> None:
        """Remember how far it is; called by the one thread that shows it."""
        self._samples.append((now, self.done))
        while now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Bytes a second; 0 if that is not known yet."""
        if len(self._samples) < 2:
            return 0.0
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        return (after - before) / (last - first) if last - first >= 1 else 0.0

    def __str__(self) -> str:
        return amount(self.done, self.total)


class Step(Amount, eq=False):
    """A part of the work that takes time: words for it, its bytes, and objects done ``of`` how many."""

    words: str | Callable[[], str] = ""
    of: int | None = None
    noun: str = ""
    objects: int = 0
    begun: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, size: int = 0, objects: int = 0) -> None:
        """Count bytes and objects that are done. May be called by any thread."""
        with self._lock:
            self.done += size
            self.objects += objects

    def reach(self, done: int, total: int) -> None:
        """So many bytes of so many are done."""
        self.done, self.total = done, total

    @property
    def text(self) -> str:
        """``pulling: 2 of 5 layers``."""
        words = self.words if isinstance(self.words, str) else self.words()
        if not self.noun:
            return words
        if self.of is not None:
            return f"{words}: {self.objects} of {count(self.of, self.noun)}"
        return f"{words}: {count(self.objects, self.noun)}"


class Transfer(Amount, eq=False):
    """A blob on its way, or a tar that is being inflated. ``waits``: another machine brings the blob."""

    words: str = ""
    waits: bool = False


class Activity:
    """The steps, of which the innermost is shown, and the transfers that run. Thread-safe."""

    # The lock guards the list of steps and the dictionary of transfers. Events come from many threads; the
    # thread of the display takes copies. Counts inside a step have a lock of their own.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: list[Step] = []
        self._running: dict[tuple[str, str], Transfer] = {}
        self.uploads: Callable[[], list[UploadProgress]] = list
        self.begun: Callable[[], object] = lambda: None
        """Called when a step begins."""

    @contextmanager
    def step(
        self,
        words: str | Callable[[], str],
        *,
        total: int | None = None,
        of: int | None = None,
        noun: str = "",
    ) -> Iterator[Step]:
        """A step inside the block, which hides the one around it. ``total``: bytes."""
        step = Step(total, words=words, of=of, noun=noun)
        with self._lock:
            self._steps.append(step)
        self.begun()
        try:
            yield step
        finally:
            with self._lock:
                self._steps.remove(step)
                if not self._steps:
                    self._running.clear()

    @property
    def current(self) -> Step | None:
        with self._lock:
            return self._steps[-1] if self._steps else None

    @property
    def running(self) -> list[Transfer]:
        with self._lock:
            return list(self._running.values())

    def watch(self, event: Event) -> None:
        """Follow the events of a cache or of a copy: which blobs are on their way, and how far."""
        if event.name is None:
            return
        key = (event.name, event.form)
        if event.kind == "bytes":
            # Not under the lock: a missing bar is no harm, and a transfer's bytes come from one thread.
            if transfer := self._running.get(key):
                transfer.done += event.size
            return
        with self._lock:
            match event.kind:
                case "waiting":
                    words = f"waiting for {event.note}, {percent(event.size, event.total)}"
                    self._running[key] = Transfer(event.total, event.size, words=words, waits=True)
                case "fetching" | "inflating" if event.total is None or event.total >= BIG:
                    if key not in self._running or self._running[key].waits:
                        words = f"{event.kind} {short(event.name)}"
                        self._running[key] = Transfer(event.total, words=words)
                case "finishing":
                    self._running.setdefault(key, Transfer(event.total, event.size))
                    self._running[key].words = f"finishing {short(event.name)}"
                case "fetched" | "inflated" | "failed" | "stored" | "hit":
                    self._running.pop(key, None)
                case _:
                    pass

    def ended(self, *names: str | None) -> None:
        """No transfer of these names runs any more, however it ended."""
        with self._lock:
            for key in [key for key in self._running if key[0] in names]:
                del self._running[key]


def percent(done: int, total: int | None) -> str:
    """``40 %``."""
    return f"{100 * done // total if total else 0} %"


def amount(done: int, total: int | None) -> str:
    """``40.0/81.2 MB``, ``999 kB/1.2 MB``; without a total what is done."""
    if total is None:
        return human(done)
    whole, unit = human(total).split()
    scale = total / float(whole) if float(whole) else 1
    part = done / scale
    return f"{part:.0f}/{whole} B" if unit == "B" else f"{part:.1f}/{whole} {unit}"


def sending(uploads: list[UploadProgress]) -> str:
    """``sending 40.0/81.2 MB to s3://bucket``; empty if nothing is left."""
    parts = []
    for each in uploads:
        if each.left:
            what = amount(each.sent, each.total) if each.sent < each.total else count(each.left, "object")
            parts.append(f"{what} to {each.where}")
    return f"sending {' and '.join(parts)}" if parts else ""
