"""Progress bars on a terminal, driven by the cache's events."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layercache.cli.output import short
from layercache.oci.forms import COMPRESSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress, TaskID

    from layercache.cache import Cache
    from layercache.copy import Report
    from layercache.events import Event, Observers
    from layercache.layer import Layer

BIG = 4 << 20
"""Bytes from which ``copy`` shows a separate bar for a blob."""


@contextmanager
def shown(cache: Cache, layers: Sequence[Layer], *, visible: bool) -> Iterator[Callable[[Layer], object]]:
    """Show bars on stderr inside the block. Yields a function to call with each finished layer."""
    if not (visible and layers):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = Bars(progress, layers)
        with cache.watch(bars.watch):
            yield bars.finish


@contextmanager
def counted(title: str, *, visible: bool) -> Iterator[Callable[[int], object]]:
    """Show a running count of bytes on stderr inside the block; the total is unknown.

    Yields a function to call with the size of each object.
    """
    if not visible:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import FileSizeColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), FileSizeColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda size: progress.advance(task, size)


class Bars:
    """One bar for the whole pull, counting compressed bytes, and one for each running transfer."""

    def __init__(self, progress: Progress, layers: Sequence[Layer]) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], TaskID] = {}
        self._layers = len(layers)
        self._finished = 0
        self._come: dict[str, int] = {}
        self._whole = progress.add_task("", total=sum(layer.size or 0 for layer in layers))
        self._describe()

    def watch(self, event: Event) -> None:
        if event.name is None:
            return
        key = (event.name, event.form)
        with self._lock:
            match event.kind:
                case "fetching" | "inflating":
                    if key not in self._running:
                        words = f"{event.kind} {short(event.name)}"
                        self._running[key] = self._progress.add_task(words, total=event.total)
                case "bytes":
                    if key in self._running:
                        self._progress.advance(self._running[key], event.size)
                    if event.form == COMPRESSED:
                        self._come[event.name] = self._come.get(event.name, 0) + event.size
                        self._progress.advance(self._whole, event.size)
                case "fetched" | "inflated" | "failed":
                    self._remove(key)
                case _:
                    pass

    def finish(self, layer: Layer) -> None:
        with self._lock:
            for name in layer.names:
                for form in ("compressed", "uncompressed"):
                    self._remove((str(name), form))
            self._finished += 1
            self._progress.advance(self._whole, (layer.size or 0) - self._come.pop(str(layer.digest), 0))
            self._describe()

    def _remove(self, key: tuple[str, str]) -> None:
        if (task := self._running.pop(key, None)) is not None:
            self._progress.remove_task(task)

    def _describe(self) -> None:
        self._progress.update(self._whole, description=f"{self._finished} of {self._layers} layers")


@contextmanager
def copying_shown(observers: Observers, report: Report, *, visible: bool) -> Iterator[None]:
    """Show on stderr inside the block what a copy has done, and a bar for each big blob."""
    if not visible:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    with progress, observers.watch(CopyBars(progress, report).watch):
        yield


class CopyBars:
    """Progress of a copy. The total is unknown: the source is listed while its blobs are copied."""

    def __init__(self, progress: Progress, report: Report) -> None:
        self._progress = progress
        self._report = report
        self._lock = threading.Lock()
        self._running: dict[str, TaskID] = {}
        self._whole = progress.add_task("", total=None)
        self._describe()

    def watch(self, event: Event) -> None:
        if event.name is None:  # about a whole tier, which a copy does not show
            return
        with self._lock:
            match event.kind:
                case "fetching" | "inflating" if (event.total or 0) >= BIG:
                    words = f"{'copying' if event.kind == 'fetching' else event.kind} {short(event.name)}"
                    self._running[event.name] = self._progress.add_task(words, total=event.total)
                case "bytes":
                    self._progress.advance(self._whole, event.size)
                    if event.name in self._running:
                        self._progress.advance(self._running[event.name], event.size)
                case "stored" | "failed":
                    if (task := self._running.pop(event.name, None)) is not None:
                        self._progress.remove_task(task)
                    self._describe()
                case _:
                    pass

    def _describe(self) -> None:
        done = self._report.copied + self._report.made
        self._progress.update(self._whole, description=f"{done} copied, {self._report.there} present")
