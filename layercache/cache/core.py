"""What a cache consists of, and how long it lives: tiers, resolver, events, connections."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Self

from layercache.backend import PerProcess
from layercache.errors import ConfigError, wrong_type
from layercache.events import Observers
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.resolver.resolver import Resolver
from layercache.statistics.file import Recorder
from layercache.streams.limits import Limits
from layercache.tiers.tolerant import tolerant_tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol
    from weakref import WeakSet

    from layercache.events import Event, ObserverFactory
    from layercache.export.to_daemon import DockerAddress
    from layercache.images.opening import Images
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.registry.on_demand import ClientOnDemand
    from layercache.registry.settings import RegistrySettings
    from layercache.resolver.resolver import Reopens
    from layercache.resolver.uploads import Uploads
    from layercache.sources import Source
    from layercache.statistics.counters import Counters
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.layout.refresher import IndexRefresher
    from layercache.tiers.tier import Tier
    from layercache.transfer.share import Share

    class Reopening(Reopens, Protocol):
        def cache(self) -> object: ...


class CacheCore:
    """Opens and closes what a `Cache` needs, and reports what happens in it. See there for the options."""

    # What most processes do not need is made, and imported, when it is first used.

    def __init__(
        self,
        tiers: Sequence[Tier],
        *,
        registries: Callable[[], RegistrySettings] | None = None,
        limits: Limits | None = None,
        offline: bool = False,
        verify_always: bool = False,
        strict: bool = False,
        tag_age: float = 0,
        finish: Share | None = None,
        max_document_size: int = DOCUMENT_MAX,
        docker: Callable[[], DockerAddress] | None = None,
        statistics: str | None = None,
        single: Callable[[str | os.PathLike[str]], Tier] | None = None,
        reopening: Reopening | None = None,
    ) -> None:
        self._max_document_size = max_document_size
        self.tiers = tuple(tiers)
        self.tag_age = tag_age
        self.offline, self.strict = offline, strict
        self._observers = Observers()
        self._asked = tolerant_tiers(self.tiers, self._observers, strict=strict)
        self._refresher = PerProcess(self._new_refresher)
        self._reopening = reopening
        self._resolver = Resolver(
            self._asked,
            self._observers,
            limits or Limits(),
            verify_always=verify_always,
            finish=finish,
            reopening=reopening,
            changed=self.note_change,
        )
        self._registries = registries
        self._registry = PerProcess(self._new_connection)
        self._recorder = Recorder(statistics)
        self._docker, self._single = docker, single
        self._indexing = self._begin_indexing()

    def _begin_indexing(self) -> object:
        """Make the indexes of what tiers with ``keep=indexed`` get. Keep what is returned."""
        for tier in self.tiers:
            if tier.policy.indexed:
                from layercache.files.indexing import begin_indexing

                return begin_indexing(self._resolver, self._observers)
        return None

    @cached_property
    def uploads(self) -> Uploads:
        """What is on its way to far tiers, and what an interrupt has left."""
        from layercache.resolver.uploads import Uploads

        return Uploads(self._resolver.keeper, self.tiers, self._asked)

    @cached_property
    def _sources(self) -> WeakSet[Source]:
        """Those that images and layers use. An archive that none uses any more is closed by itself."""
        from weakref import WeakSet

        return WeakSet()

    def _new_connection(self) -> ClientOnDemand:
        from layercache.registry.on_demand import ClientOnDemand

        return ClientOnDemand(self._registries, self._observers)

    def _client(self) -> RegistryClient:
        self._resolver.check_open()
        return self._registry.get().get()

    def _new_refresher(self) -> IndexRefresher:
        from layercache.tiers.layout.refresher import IndexRefresher

        return IndexRefresher(self.tiers, self._observers)

    def _source_of(self, name: str) -> tuple[Images, Reference | None, Source | None]:
        """What opens images, the reference if the name is one, and the source unless offline.

        An imported image has a name that no registry knows, so it is what is cached.
        """
        from layercache.oci.image_names import is_imported
        from layercache.sources.names import registry_reference
        from layercache.sources.opening import open_source

        images, reference = self._images(), registry_reference(name)
        if reference is not None and (self.offline or is_imported(reference)):
            return images, reference, None
        source = open_source(name, self._client, max_document_size=self._max_document_size)
        self._sources.add(source)
        return images, reference, source

    def _images(self) -> Images:
        from layercache.images.opening import Images

        self._resolver.check_open()
        return Images(self._asked, self._resolver, self._observers, tag_age=self.tag_age, strict=self.strict)

    def _tier_at(self, place: str | os.PathLike[str]) -> Tier:
        """Open a tier alone, by its URL or folder, for `closing`. Raises `ConfigError`, `TypeError`."""
        if not isinstance(place, str | os.PathLike):
            raise wrong_type("a URL, a path or a Cache", place)
        if self._single is None:
            raise ConfigError("this cache cannot open another one", hint="pass a Cache")
        return self._single(place)

    def _chosen(self, *, all_tiers: bool) -> Sequence[Tier]:
        self._resolver.check_open()
        return self.tiers if all_tiers else self.tiers[:1]

    def _stores(self, *, all_tiers: bool, writable: bool = False) -> list[BackendTier]:
        """The nearest tier that is a store of objects, or each. Raises `ConfigError` if there is none."""
        from layercache.upkeep import stores_of

        self._settle(all_tiers=all_tiers)
        return stores_of(self.tiers, everyone=all_tiers, writable=writable)

    def _settle(self, *, all_tiers: bool) -> None:
        """Before tiers are changed: what is on its way to far ones would bring back what goes."""
        self._resolver.check_open()
        if all_tiers:
            self.flush()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._resolver.closed

    @property
    def counters(self) -> Counters:
        """Totals since the cache was opened, at this moment; they do not change afterwards."""
        return self._observers.counters

    def watch(self, watcher: Callable[[Event], object]) -> AbstractContextManager[None]:
        """Call ``watcher``, which is quick and does not raise, with each `Event`, in the thread of that."""
        if not callable(watcher):
            raise wrong_type("a function of an event", watcher)
        return self._observers.watch(watcher)

    def observe(self, factory: ObserverFactory) -> AbstractContextManager[None]:
        """Let observers see the bytes of each blob that is fetched, and each tar that is inflated.

        Inside the ``with`` block ``factory(name, form, size)`` is called as each pass begins, and returns a
        `PassObserver`, or None for a pass that it does not want to see. A pass that began before is not seen.
        """
        if not callable(factory):
            raise wrong_type("a function that makes observers", factory)
        return self._observers.observe(factory)

    def expecting(self, layers: int) -> AbstractContextManager[Callable[[], None]]:
        """Announce that this many layers will be read in parallel: see `Fetcher.expecting`."""
        return self._resolver.passes.expecting(layers)

    def note_change(self) -> None:
        """A tier was changed other than through this cache: rewrite index.json soon."""
        self._refresher.get().note_change()

    def record_statistics(self) -> None:
        """Add what was done since the last time to the file of totals, as `close` does."""
        self._recorder.record(self.counters)

    def flush(self) -> None:
        """Wait for transfers without readers, and for uploads. A strict cache raises what failed."""
        self._resolver.finish()
        self._resolver.keeper.background.flush()

    def close(self, *, flush: bool = True) -> None:
        """End transfers, `flush`, and close connections and files. May be called twice.

        Without ``flush`` transfers are given up, and uploads broken off: ``uploads.resume`` sends the rest.
        Then every method that needs a tier or a source raises `ClosedError`, also those of layers and images.
        """
        if not flush:
            self.uploads.give_up()
        try:
            self._resolver.close(flush=flush)
        finally:
            if refresher := self._refresher.made():
                refresher.close()
            self.record_statistics()
            if sources := self.__dict__.get("_sources"):
                with suppress(KeyError):  # that there are no more
                    while True:
                        sources.pop().close()
            if connection := self._registry.made():
                connection.close()
            with ExitStack() as closing:
                for tier in self._asked:
                    closing.callback(tier.close)

    def __enter__(self) -> Self:
        self._resolver.check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An interrupt means now: do not wait for uploads.
        self.close(flush=kind is None or issubclass(kind, Exception))

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        if self._reopening is None:
            raise TypeError("only a cache that layercache.open has opened can be pickled")
        return self._reopening.cache, ()

    def __repr__(self) -> str:
        state = "closed cache" if self.closed else "Cache"
        return f"<{state} {' '.join(tier.name for tier in self.tiers)}>"
