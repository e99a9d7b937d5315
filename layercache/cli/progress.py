"""Bars on a terminal for what is on its way, out of the cache's events."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layercache.cli.output import short
from layercache.events import COMPRESSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress, TaskID

    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.layer import Layer


@contextmanager
def shown(cache: Cache, layers: Sequence[Layer], *, visible: bool) -> Iterator[Callable[[Layer], object]]:
    """Bars on stderr inside the block, gone after it. Gives what is to be called with each finished layer."""
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


class Bars:
    """One bar for the whole, counting compressed bytes, and one for each transfer on its way."""

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
            for name in (layer.digest, layer.diff_id):
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
