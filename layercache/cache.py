"""The public face: a cache of layers on one or more tiers."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, Self

from layercache.errors import ConfigError, NotFoundError
from layercache.events import Counters, Event, Observers
from layercache.layer import Layer
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.oci.forms import COMPRESSED
from layercache.oci.reference import Reference
from layercache.resolver import lookup
from layercache.resolver.ingest import Ingest
from layercache.resolver.resolver import Resolver
from layercache.sources.function import FunctionSource
from layercache.streams.borrowed import BorrowedReader
from layercache.streams.inflate import Limits
from layercache.tiers import removal
from layercache.tiers.layout.refresher import IndexRefresher
from layercache.tiers.tolerant import TolerantTier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from layercache.errors import LayercacheError
    from layercache.events import ObserverFactory
    from layercache.export.exporter import Exported
    from layercache.images.image import Image
    from layercache.images.opening import Images
    from layercache.registry.client import RegistryClient
    from layercache.registry.settings import RegistrySettings
    from layercache.sources import Source
    from layercache.tiers.tier import Tier


class Cache:
    """A content-addressed cache of container layers, each known by digest and by diff ID.

    Made by `layercache.open`. Thread-safe; a context manager. ``tiers`` are ordered near to far;
    ``offline`` asks no source; ``verify_always`` hashes what is read from the nearest tier too, whose
    entries were verified when they were written and are else checked by size. A tier that fails is passed
    over, and told of as an event; ``strict`` makes it an error. ``registries`` is called when the first
    registry is asked for. ``tag_age``: seconds for which what a tag named is not checked with its registry.
    ``max_document_size``: bytes of a manifest or an index out of a local source, at most.
    """

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
        max_document_size: int = DOCUMENT_MAX,
    ) -> None:
        self._max_document_size = max_document_size
        self.tiers = tuple(tiers)
        self.tag_age = tag_age
        self.offline = offline
        self.strict = strict
        self._observers = Observers()
        self._asked = tuple(TolerantTier(tier, self._observers, strict=strict) for tier in self.tiers)
        self._refresher = IndexRefresher(self.tiers, self._observers)
        self._resolver = Resolver(
            self._asked,
            self._observers,
            limits or Limits(),
            verify_always=verify_always,
            changed=self._refresher.note_change,
        )
        self._registries = registries
        self._registry: RegistryClient | None = None
        self._sources: list[Source] = []
        self._lock = threading.Lock()

    def get(self, name: str) -> Layer:
        """The layer that is cached under this digest or diff ID.

        Raises `NotFoundError` where no form of it is in any tier, `InvalidNameError`, `BackendError`.
        """
        return Layer(self._resolver, lookup.find(self._asked, Hash(name), self._resolver.keeper.refuted))

    def __contains__(self, name: str) -> bool:
        """Whether some form is in some tier under this digest or diff ID. No source is asked."""
        try:
            lookup.find(self._asked, Hash(name), self._resolver.keeper.refuted)
        except NotFoundError:
            return False
        return True

    def put(self, source: str | os.PathLike[str] | BinaryIO) -> Layer:
        """Keep a blob: a layer as gzip, zstd or plain tar, out of a file or a stream, read to its end.

        Both names are computed, and both forms kept where the tiers' policies say. What is neither gzip,
        zstd nor tar is kept as an opaque blob. A stream is left open. Raises `FormatError`, `LimitError`,
        `BackendError`, `ConfigError` and, for a path that cannot be read, `OSError`.
        """
        intake = Ingest(self._resolver.passes, self._resolver.keeper, self._observers)
        if isinstance(source, str | os.PathLike):
            with open(source, "rb", buffering=0) as file:
                return Layer(
                    self._resolver, intake.take(BorrowedReader(file), os.fstat(file.fileno()).st_size)
                )
        return Layer(self._resolver, intake.take(BorrowedReader(source), None))

    def layer(
        self,
        digest: str,
        *,
        diff_id: str | None = None,
        size: int | None = None,
        media_type: str | None = None,
        fetch: Callable[[Digest], BinaryIO] | None = None,
    ) -> Layer:
        """A layer by its digest, for programs with a registry client of their own.

        ``fetch(digest)`` is called when every tier misses, and gives a stream of the compressed blob; the
        stream is closed when it was read. ``diff_id`` is what the image's config claims; ``size`` in
        bytes and ``media_type`` are what the manifest states: what is given is enforced. Nothing is read
        before one of the layer's streams is.
        """
        found = lookup.of_digest(self._asked, Digest(digest), self._resolver.keeper.refuted)
        identity = found.with_statement(None if diff_id is None else DiffID(diff_id), size, media_type)
        source = FunctionSource(Digest(digest), fetch) if fetch and not self.offline else None
        return Layer(self._resolver, identity, source)

    def image(self, name: str, *, platform: str | None = None) -> Image:
        """An image: a registry's reference, ``oci:PATH[:REF]`` or ``docker-archive:PATH[:REF]``.

        Its manifest and config are fetched now, unless they are cached; its layers when they are read.
        ``platform`` is os/architecture[/variant]; by default Linux on this machine's architecture. Offline
        it is the image as it was last pulled. Raises `NotFoundError`, `SourceError`, `InvalidNameError`,
        `FormatError`, `DigestMismatchError`.
        """
        from layercache.oci.platforms import parse_platform

        wanted = parse_platform(platform) if platform else None
        images, reference, source = self._images(name)
        if source is None:
            assert reference is not None, "only registries are not asked"
            return images.from_tiers(reference, wanted)
        return images.from_source(source, reference, wanted)

    def images(self, name: str, *, missing: Callable[[LayercacheError], object] | None = None) -> list[Image]:
        """Every platform of an image, and what its index has beside them: attestations.

        Where the source has only some of them, ``missing`` is called with an error for each that it lacks,
        or that is wrong; without ``missing`` the first is raised. Offline, those whose documents are cached.
        Otherwise as `image`.
        """
        images, reference, source = self._images(name)
        if source is None:
            assert reference is not None, "only registries are not asked"
            return images.all_from_tiers(reference)
        return images.all_from_source(source, reference, missing)

    def _images(self, name: str) -> tuple[Images, Reference | None, Source | None]:
        """Who opens images, the reference that a name is, if it is one, and its source, if one is asked."""
        from layercache.images.opening import Images
        from layercache.sources.names import registry_reference
        from layercache.sources.opening import open_source

        images = Images(
            self._asked, self._resolver, self._observers, tag_age=self.tag_age, strict=self.strict
        )
        reference = registry_reference(name)
        if self.offline and reference is not None:
            return images, reference, None
        source = open_source(name, self._client, max_document_size=self._max_document_size)
        self._sources.append(source)
        return images, reference, source

    def forget_image(self, name: str, *, blobs: bool = False, all_tiers: bool = False) -> None:
        """Forget what a reference names, in the nearest tier that can be written to.

        ``blobs``: also the blobs that no other image there needs, both forms of layers; without, they stay.
        ``all_tiers``: in each tier that can be written to. Raises `NotFoundError`, `InvalidNameError`.
        """
        from layercache.images.tags import image_key

        reference = Reference.parse(name)
        targets = self._writable(all_tiers)
        found = [removal.forget_image(tier, image_key(reference), blobs=blobs) for tier in targets]
        self._refresher.note_change()
        if not any(found):
            raise NotFoundError(
                f"the image {reference} is not cached",
                looked_in=[tier.name for tier in targets],
                hint="layercache images lists what there is",
            )

    def export(
        self,
        name: str,
        target: str,
        *,
        platform: str | None = None,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> Exported:
        """Take an image that was pulled out of the cache; no source is asked.

        ``target``: ``oci:PATH[:REF]``, ``docker-archive:PATH[:REF]`` or ``registry/repository:tag``. Layout
        and registry get manifests and blobs byte for byte, the archive the config and the layers' tars.
        ``platform``: one, by default Linux on this machine's architecture, or ``all`` for an index and all
        that it names. ``progress`` is called with the layers' bytes that are done, and with all of them.
        Raises `NotFoundError` for what is not cached, `SourceError` where the target fails, `ConfigError`,
        `InvalidNameError`, `IntegrityError`, `BackendError`.
        """
        from layercache.export.exporter import Exporter
        from layercache.images.tags import Tags

        tags = Tags(self._asked, self._observers, strict=self.strict)
        return Exporter(self._asked, self._resolver, self._client, tags).export(
            name, target, platform, progress
        )

    def delete(self, name: str, *, force: bool = False, all_tiers: bool = False) -> None:
        """Forget a layer or blob, by either name, in the nearest tier that can be written to.

        By digest: that blob, its facts, and the tar only where no other digest leads to it. By diff ID:
        the tar and every digest of it. ``all_tiers``: in each tier that can be written to. Raises
        `NotFoundError` where nothing was there, `InUseError` where a cached image refers to it, unless
        ``force``.
        """
        targets = self._writable(all_tiers)
        gone = sum([removal.delete(tier, Hash(name), force=force) for tier in targets])
        self._refresher.note_change()
        if not gone:
            raise NotFoundError(
                f"{name} is not cached",
                looked_in=[tier.name for tier in targets],
                hint=""
                if all_tiers or sum(not tier.policy.readonly for tier in self.tiers) == 1
                else "farther tiers are left alone: all_tiers (--all-tiers) includes them",
            )

    def _writable(self, all_tiers: bool) -> list[Tier]:
        """The nearest tier that can be written to, or each. Raises `ConfigError` where there is none."""
        writable = [tier for tier in self.tiers if not tier.policy.readonly]
        if not writable:
            raise ConfigError("every tier is read-only", hint="name a cache that can be written to")
        if all_tiers:
            self.flush()  # what is on its way there would come back
        return writable if all_tiers else writable[:1]

    @property
    def counters(self) -> Counters:
        """What this cache did since it was opened."""
        return self._observers.counters

    def watch(self, watcher: Callable[[Event], object]) -> AbstractContextManager[None]:
        """Call ``watcher`` with each `Event` inside the ``with`` block, in the thread where it happens.

        ``events: list[Event] = []`` and ``with cache.watch(events.append): ...`` keeps them to look at.
        The watcher must be quick and thread-safe, and must not raise.
        """
        return self._observers.watch(watcher)

    def observe(self, factory: ObserverFactory) -> AbstractContextManager[None]:
        """Let observers see the bytes of each blob that is fetched, and each tar that is inflated.

        Inside the ``with`` block ``factory(name, form, size)`` is called as each pass begins, and returns a
        `PassObserver`, or None for a pass that it does not want to see. A pass that began before is not seen.
        """
        return self._observers.observe(factory)

    @contextmanager
    def expecting(self, layers: int) -> Iterator[Callable[[], None]]:
        """Tell that so many layers will be read in parallel: each then gets one thread, not three.

        Gives a function to call as each of them is done, so that the last ones may use the idle cores.
        """
        passes, left = self._resolver.passes, 0

        def expect(more: int) -> None:
            nonlocal left
            with self._lock:
                left += more
                passes.expected_layers += more

        expect(layers)
        try:
            yield lambda: expect(-1)
        finally:
            expect(-left)

    def note_change(self) -> None:
        """Tell that a tier was changed by another way than the cache's: index.json is written anew soon."""
        self._refresher.note_change()

    def flush(self) -> None:
        """Wait until remote tiers have what was kept for them.

        Raises what failed only where the cache is strict; else it was told as an event.
        """
        self._resolver.keeper.background.flush()

    def close(self, *, flush: bool = True) -> None:
        """Give up what is still coming in, `flush`, and give back what is open. Closing twice is no error.

        Without ``flush``, what remote tiers have not begun to get is given up too.
        """
        background = self._resolver.keeper.background
        if not flush:
            background.give_up()
        self._resolver.close()
        try:
            background.flush()
        finally:
            self._refresher.close()
            self._close()

    def _close(self) -> None:
        for source in self._sources:
            source.close()
        self._sources.clear()
        if self._registry:
            self._registry.close()
            self._registry = None
        with ExitStack() as closing:
            for tier in self._asked:
                closing.callback(tier.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An interrupt means now: who waits for uploads then?
        self.close(flush=kind is None or issubclass(kind, Exception))

    def __repr__(self) -> str:
        return f"<Cache {' '.join(tier.name for tier in self.tiers)}>"

    def _client(self) -> RegistryClient:
        from layercache.registry.client import RegistryClient

        with self._lock:
            if self._registry is None:
                self._registry = RegistryClient(
                    self._registries() if self._registries else None, passed_over=self._passed_over
                )
            return self._registry

    def _passed_over(self, place: str, error: LayercacheError) -> None:
        self._observers.emit(Event("failed", None, COMPRESSED, place, note=error.message))
