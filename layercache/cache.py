"""The public face: a cache of layers on one or more tiers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, Self

from layercache.backend import PerProcess
from layercache.events import Observers
from layercache.layer import Layer
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.registry.on_demand import ClientOnDemand
from layercache.resolver.resolver import Resolver
from layercache.resolver.uploads import Uploads
from layercache.statistics.file import Recorder
from layercache.streams.limits import Limits
from layercache.tiers import keys
from layercache.tiers.tolerant import tolerant_tiers

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from layercache.errors import LayercacheError
    from layercache.events import Event, ObserverFactory
    from layercache.explain.explanation import Explanation
    from layercache.export.exporter import Exported
    from layercache.export.to_daemon import DockerAddress
    from layercache.images.image import Image
    from layercache.images.opening import Images
    from layercache.images.registry_images import RegistryImages
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.registry.settings import RegistrySettings
    from layercache.sources import Source
    from layercache.statistics.counters import Counters
    from layercache.tiers.layout.refresher import IndexRefresher
    from layercache.tiers.tier import Tier
    from layercache.transfer.share import Share


class Cache:
    """A content-addressed cache of container layers, each known by digest and by diff ID.

    Opened by `layercache.open`. Thread-safe; a context manager. ``tiers``: nearest first. ``offline``: no
    source is contacted. ``verify_always`` also hashes entries of trusted tiers on each read; by default their
    size is checked. A tier that fails is skipped and reported as an event; ``strict``: it is an error.
    ``registries`` is called when the first registry is needed, ``docker`` for the first export to a daemon.
    ``tag_age``: seconds for which a tag is not checked again. ``max_document_size``: of local manifests.
    ``finish``: how much a transfer has to have to go on without readers. ``statistics``: the file of totals.
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
        finish: Share | None = None,
        max_document_size: int = DOCUMENT_MAX,
        docker: Callable[[], DockerAddress] | None = None,
        statistics: str | None = None,
    ) -> None:
        self._max_document_size = max_document_size
        self.tiers = tuple(tiers)
        self.tag_age = tag_age
        self.offline = offline
        self.strict = strict
        self._observers = Observers()
        self._asked = tolerant_tiers(self.tiers, self._observers, strict=strict)
        # What most processes do not need is made, and imported, when it is first used.
        self._refresher = PerProcess(self._new_refresher)
        self._resolver = Resolver(
            self._asked,
            self._observers,
            limits or Limits(),
            verify_always=verify_always,
            finish=finish,
            changed=self.note_change,
        )
        self._registry = ClientOnDemand(registries, self._observers)
        self._recorder = Recorder(statistics)
        self.uploads = Uploads(self._resolver.keeper, self.tiers, self._asked)
        self._docker = docker
        self._sources: list[Source] = []

    def _new_refresher(self) -> IndexRefresher:
        from layercache.tiers.layout.refresher import IndexRefresher

        return IndexRefresher(self.tiers, self._observers)

    def get(self, name: str) -> Layer:
        """Return the cached layer with this digest or diff ID.

        Where a remote tier has the blob, it is requested at once, and kept open for a read within the next
        seconds. Raises `NotFoundError` if no tier has any form of it, `InvalidNameError`, `BackendError`.
        """
        identity, responses = self._resolver.finder.find(Hash(name))
        return Layer(self._resolver, identity, responses=responses)

    def __contains__(self, name: str) -> bool:
        """Whether any tier has any form of it, by digest or diff ID. Contacts no source."""
        return self._resolver.finder.is_cached(Hash(name))

    def put(self, source: str | os.PathLike[str] | BinaryIO, *, any_data: bool = False) -> Layer:
        """Add a layer (gzip, zstd or plain tar) from a path or a stream, which is read to its end.

        Both names are computed. ``any_data``: other data is stored, without a diff ID. A stream is left
        open. Raises `NotALayerError`, `FormatError`, `LimitError`, `BackendError`, `ConfigError`, `OSError`.
        """
        from layercache.resolver.ingest import Ingest

        intake = Ingest(self._resolver.passes, self._resolver.keeper, self._observers, any_data=any_data)
        return Layer(self._resolver, intake.take_from(source))

    def layer(
        self,
        digest: str,
        *,
        diff_id: str | None = None,
        size: int | None = None,
        media_type: str | None = None,
        fetch: Callable[[Digest], BinaryIO] | None = None,
        repository: str | None = None,
        client: RegistryClient | None = None,
    ) -> Layer:
        """A layer by its digest, and where it comes from if no tier has it.

        ``fetch(digest)`` returns a binary stream, which is closed after reading. Or ``repository``: of a
        registry, such as ``ghcr.io/team/app``; ``client``: that reaches it, with other credentials.
        ``diff_id``, ``size`` (bytes) and ``media_type``, as config and manifest have them, are enforced.
        With neither ``diff_id`` nor ``repository``, remote tiers are asked for it. Raises `InvalidNameError`.
        """
        found, responses = self._resolver.of_digest(Digest(digest), stated=bool(diff_id or repository))
        identity = found.with_statement(None if diff_id is None else DiffID(diff_id), size, media_type)
        source = None
        if not self.offline and (fetch or repository):
            from layercache.images.repositories import blob_source

            reaching = (lambda: client) if client else self._registry.get
            source = blob_source(Digest(digest), size, fetch, repository, reaching)
        return Layer(self._resolver, identity, source, responses=responses)

    def image(self, name: str, *, platform: str | None = None) -> Image:
        """An image of a registry, an ``oci:PATH[:REF]``, ``oci-archive:PATH[:REF]`` or
        ``docker-archive:PATH[:REF]``; a PATH of ``-`` is stdin.

        Fetches manifest and config if they are not cached; layers are fetched when they are read. The image
        is recorded under its reference, or the names that layout or archive give it.
        ``platform`` is os/architecture[/variant], by default Linux on this machine's architecture. Offline,
        returns the image as it was last pulled. Raises `NotFoundError`, `SourceError`, `InvalidNameError`,
        `FormatError`, `DigestMismatchError`.
        """
        from layercache.oci.platforms import parse_platform

        images, reference, source = self._images(name)
        return images.from_source(source, reference, parse_platform(platform) if platform else None)

    def images(self, name: str, *, missing: Callable[[LayercacheError], object] | None = None) -> list[Image]:
        """Every platform of an image, and the attestations of its index.

        If the source lacks some of them, or some are wrong, ``missing`` is called with an error for each;
        without ``missing`` the first is raised. Offline, those whose documents are cached. Else as `image`.
        """
        images, reference, source = self._images(name)
        return images.all_from_source(source, reference, missing)

    def manifest(self, name: str) -> tuple[Descriptor, bytes]:
        """The manifest or index that a name leads to, byte for byte, with its descriptor.

        Fetched and stored if it is not cached; offline, as it was last pulled. Raises as `image`.
        """
        images, reference, source = self._images(name)
        return images.root(source, reference)

    def registry_images(self) -> RegistryImages:
        """Images of registries, where what is cached and what registries say now are asked for apart."""
        from layercache.images.registry_images import RegistryImages

        return RegistryImages(self._opener(), self._asked, None if self.offline else self._registry.get)

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted; offline, those that were pulled.

        Raises `NotFoundError` if there is none, `InvalidNameError`, `SourceError`.
        """
        from layercache.images import repositories

        reference = repositories.repository_of(repository)
        if self.offline:
            return repositories.cached_tags(self._asked, reference)
        return repositories.tags_in_registry(self._registry.get(), reference)

    def _images(self, name: str) -> tuple[Images, Reference | None, Source | None]:
        """What opens images, the reference if the name is one, and the source unless offline."""
        from layercache.sources.names import registry_reference
        from layercache.sources.opening import open_source

        reference = registry_reference(name)
        if self.offline and reference is not None:
            return self._opener(), reference, None
        source = open_source(name, self._registry.get, max_document_size=self._max_document_size)
        self._sources.append(source)
        return self._opener(), reference, source

    def _opener(self) -> Images:
        from layercache.images.opening import Images

        return Images(self._asked, self._resolver, self._observers, tag_age=self.tag_age, strict=self.strict)

    def explain(self, name: str, *, platform: str | None = None) -> Explanation:
        """Where a layer (by digest or diff ID) or an image would come from, and why, as far as tiers know.

        ``platform`` as for `image`. Raises `InvalidNameError`, `ConfigError`.
        """
        from layercache.explain.explainer import Explainer

        settings = None if self.offline else self._registry.settings
        return Explainer(self.tiers, self._asked, self._resolver, settings).explain(name, platform)

    def forget_image(self, name: str, *, blobs: bool = False, all_tiers: bool = False) -> None:
        """Remove an image from the nearest writable tier, or with ``all_tiers`` from each.

        ``blobs``: and blobs that no other image there uses. Raises `NotFoundError`, `InvalidNameError`.
        """
        from layercache.images.missing import missing_image
        from layercache.oci.reference import Reference
        from layercache.tiers import removal

        reference = Reference.parse(name)
        if all_tiers:
            self.flush()
        targets = removal.writable(self.tiers, all_tiers=all_tiers)
        found = [removal.forget_image(tier, keys.image_key(reference), blobs=blobs) for tier in targets]
        self.note_change()
        if not any(found):
            raise missing_image(targets, reference, "layercache images lists what is cached")

    def export(
        self,
        name: str,
        target: str,
        *,
        platform: str | None = None,
        compression: str | None = None,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> Exported:
        """Write a cached image to a target. Contacts no source.

        ``target``: ``oci:PATH[:REF]``, ``oci-archive:PATH[:REF]``, ``docker://REGISTRY/REPOSITORY:TAG``,
        which get manifests and blobs byte for byte; ``docker-archive:PATH[:REF]``, ``docker-daemon:[NAME]``,
        ``containers-storage:[NAME]``, which get config and tars, as does ``-``, an archive on stdout. A PATH
        that is not a regular file (a pipe, a device) is written in place, without seeking.
        ``platform``: one, by default Linux on this machine's architecture, or ``all`` for a whole index.
        ``compression``: compress layers that are not "zstd" (or "gzip"), or with a level ("zstd:9") all: that
        changes digests, not diff IDs. ``progress`` is called with bytes done, and of all layers. Raises
        `NotFoundError`, `SourceError`, `ConfigError`, `IntegrityError`, `BackendError`.
        """
        from layercache.export.exporter import Exporter
        from layercache.export.targets import Targets
        from layercache.export.to_daemon import DockerAddress

        targets = Targets(self._registry.get, self._docker or DockerAddress)
        exporter = Exporter(self._asked, self._resolver, self._observers, targets, strict=self.strict)
        return exporter.export(name, target, platform, compression, progress)

    def delete(self, name: str, *, force: bool = False, all_tiers: bool = False) -> None:
        """Remove a layer or blob from the nearest writable tier, or with ``all_tiers`` from each.

        By digest: the blob, its associations, and the tar unless another digest leads to it. By diff ID: the
        tar and every digest of it. Raises `NotFoundError` if nothing was there, `InUseError` if a cached
        image uses it, unless ``force``.
        """
        from layercache.tiers import removal

        if all_tiers:
            self.flush()  # uploads on their way would bring it back
        removal.delete_from(self.tiers, Hash(name), force=force, all_tiers=all_tiers)
        self.note_change()

    @property
    def counters(self) -> Counters:
        """Totals since the cache was opened, at this moment; they do not change afterwards."""
        return self._observers.counters

    def watch(self, watcher: Callable[[Event], object]) -> AbstractContextManager[None]:
        """Call ``watcher``, which is quick and does not raise, with each `Event`, in the thread of that."""
        return self._observers.watch(watcher)

    def observe(self, factory: ObserverFactory) -> AbstractContextManager[None]:
        """Let observers see the bytes of each blob that is fetched, and each tar that is inflated.

        Inside the ``with`` block ``factory(name, form, size)`` is called as each pass begins, and returns a
        `PassObserver`, or None for a pass that it does not want to see. A pass that began before is not seen.
        """
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
        """
        if not flush:
            self.uploads.give_up()
        try:
            self._resolver.close(flush=flush)
        finally:
            if refresher := self._refresher.made():
                refresher.close()
            self.record_statistics()
            while self._sources:
                self._sources.pop().close()
            self._registry.close()
            with ExitStack() as closing:
                for tier in self._asked:
                    closing.callback(tier.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An interrupt means now: do not wait for uploads.
        self.close(flush=kind is None or issubclass(kind, Exception))

    def __repr__(self) -> str:
        return f"<Cache {' '.join(tier.name for tier in self.tiers)}>"
