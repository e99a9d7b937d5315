"""A cache for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, Self, cast
from weakref import WeakSet

from layercache.aio.events import Events
from layercache.aio.image import Image
from layercache.aio.layer import Layer
from layercache.aio.uploaded import Uploaded
from layercache.aio.workers import Workers
from layercache.aio.wrapping import Awaits, AwaitsWrapped, Iterates, Opening, Wrapper
from layercache.cache import Cache as Blocking
from layercache.config.opening import open as blocking_open
from layercache.transfer.cancellation import Cancellation

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Callable
    from contextlib import AbstractContextManager

    from layercache.events import Event, Kind, ObserverFactory
    from layercache.images.image import Image as BlockingImage
    from layercache.statistics.counters import Counters
    from layercache.tiers.tier import Tier

P = ParamSpec("P")


def _all(images: list[BlockingImage], workers: Workers) -> list[Image]:
    return [Image(image, workers) for image in images]


class Cache(Wrapper[Blocking]):
    """As `layercache.Cache`, whose methods have the same arguments here.

    Those that return a value are coroutines, those that yield are for ``async for``. A task that is cancelled
    while it waits for one gives up the transfers of that call at once. Opened by `layercache.aio.open`.
    """

    def __init__(self, sync: Blocking, workers: Workers | None = None) -> None:
        super().__init__(sync, workers or Workers())
        self._events: WeakSet[Events] = WeakSet()

    get = AwaitsWrapped(Blocking.get, Layer)
    layer = AwaitsWrapped(Blocking.layer, Layer)
    image = AwaitsWrapped(Blocking.image, Image)
    platforms = AwaitsWrapped(Blocking.platforms, _all)
    pull = Awaits(Blocking.pull)
    tags = Awaits(Blocking.tags)
    manifest = Awaits(Blocking.manifest)
    explain = Awaits(Blocking.explain)
    export = Awaits(Blocking.export)
    images = Iterates(Blocking.images)
    layers = Iterates(Blocking.layers)
    stats = Iterates(Blocking.stats)
    copy_to = Awaits(Blocking.copy_to)
    prune = Awaits(Blocking.prune)
    verify = Iterates(Blocking.verify)
    delete = Awaits(Blocking.delete)
    forget_image = Awaits(Blocking.forget_image)
    clean = Awaits(Blocking.clean)
    info = Awaits(Blocking.info)
    find = Iterates(Blocking.find)
    write_index = Awaits(Blocking.write_index)
    adopt = Awaits(Blocking.adopt)
    upgrade = Awaits(Blocking.upgrade)
    flush = Awaits(Blocking.flush)
    has = Awaits(Blocking.__contains__)

    async def put(
        self,
        source: str | os.PathLike[str] | BinaryIO | AsyncIterable[bytes],
        *,
        any_data: bool = False,
    ) -> Layer:
        """As `layercache.Cache.put`, and what an asynchronous iterable yields: the body of a request, say."""
        taken = source
        if hasattr(source, "__aiter__"):
            chunks = cast("AsyncIterable[bytes]", source)
            taken = cast("BinaryIO", Uploaded(chunks, asyncio.get_running_loop()))
        put = self.sync.put
        layer = await self._workers.call(Cancellation(), put, cast("BinaryIO", taken), any_data=any_data)
        return Layer(layer, self._workers)

    def events(self, *kinds: Kind) -> Events:
        """The events of these kinds, or all, inside an ``async with`` block."""
        events = Events(self.sync.watch, frozenset(kinds))
        self._events.add(events)
        return events

    def watch(self, watcher: Callable[[Event], object]) -> AbstractContextManager[None]:
        """As `layercache.Cache.watch`: called in the threads in which events happen."""
        return self.sync.watch(watcher)

    def observe(self, factory: ObserverFactory) -> AbstractContextManager[None]:
        """As `layercache.Cache.observe`."""
        return self.sync.observe(factory)

    @property
    def counters(self) -> Counters:
        return self.sync.counters

    @property
    def tiers(self) -> tuple[Tier, ...]:
        return self.sync.tiers

    @property
    def closed(self) -> bool:
        return self.sync.closed

    async def close(self, *, flush: bool = True) -> None:
        """As `layercache.Cache.close`; ends iterations over events, too."""
        try:
            await self._workers.call(Cancellation(), self._close, flush=flush)
        finally:
            for events in list(self._events):
                events.end()
            self._workers.close()

    def _close(self, *, flush: bool) -> None:
        self._workers.wait_for_cancelled()
        self.sync.close(flush=flush)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A task that is cancelled does not wait for uploads.
        await self.close(flush=kind is None or issubclass(kind, Exception))


def _opens(function: Callable[P, Blocking]) -> Callable[P, Opening[Cache]]:
    def open(*args: P.args, **kwargs: P.kwargs) -> Opening[Cache]:
        async def opened() -> Cache:
            workers = Workers()
            return Cache(await workers.call(Cancellation(), function, *args, **kwargs), workers)

        return Opening(opened)

    open.__doc__ = function.__doc__
    return open


open = _opens(blocking_open)
"""As `layercache.open`: ``async with open(…) as cache``, or ``cache = await open(…)``."""
