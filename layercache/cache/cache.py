"""The methods of a cache for layers and images. What does the work is imported when they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from layercache.cache.contents import CacheContents
from layercache.errors import wrong_type
from layercache.layer import Layer
from layercache.oci.digest import DiffID, Digest, Hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from layercache.cache.image_info import ImageInfo
    from layercache.cache.layer_info import LayerInfo
    from layercache.cache.searching import Searched
    from layercache.errors import LayercacheError
    from layercache.explain.explanation import Explanation
    from layercache.export.exporter import Exported
    from layercache.images.image import Image
    from layercache.images.registry_images import RegistryImages
    from layercache.layer import Forms
    from layercache.oci.descriptor import Descriptor
    from layercache.pull import Pulled
    from layercache.registry.client import RegistryClient
    from layercache.upkeep.adopt import Adopted


class Cache(CacheContents):
    """A content-addressed cache of container layers, each known by digest and by diff ID.

    Opened by `layercache.open`. Thread-safe; a context manager. ``tiers``: nearest first. ``offline``: no
    source is contacted. ``verify_always`` also hashes entries of trusted tiers on each read; by default their
    size is checked. A tier that fails is skipped and reported as an event; ``strict``: it is an error.
    ``registries`` is called when the first registry is needed, ``docker`` for the first export to a daemon.
    ``tag_age``: seconds for which a tag is not checked again. ``max_document_size``: of local manifests.
    ``finish``: how much a transfer has to have to go on without readers. ``statistics``: the file of totals.
    ``single`` opens a tier by its URL, for `copy_to`. Methods that say nothing else act on the nearest tier,
    with ``all_tiers`` on each; once it is closed, all raise `ClosedError`.
    """

    def get(self, name: str) -> Layer:
        """Return the cached layer with this digest or diff ID.

        Where a remote tier has the blob, it is requested at once, and kept open for a read within the next
        seconds. Raises `NotFoundError` if no tier has any form of it, `InvalidNameError`, `BackendError`.
        """
        self._resolver.check_open()
        identity, responses = self._resolver.finder.find(Hash(name))
        return Layer(self._resolver, identity, responses=responses)

    def __contains__(self, name: str) -> bool:
        """Whether any tier has any form of it, by digest or diff ID. Contacts no source."""
        self._resolver.check_open()
        return self._resolver.finder.is_cached(Hash(name))

    def put(self, source: str | os.PathLike[str] | BinaryIO, *, any_data: bool = False) -> Layer:
        """Add a layer (gzip, zstd or plain tar) from a path or a stream, which is read to its end.

        Both names are computed. ``any_data``: other data is stored, without a diff ID. A stream is left
        open. Raises `NotALayerError`, `FormatError`, `LimitError`, `BackendError`, `ConfigError`, `OSError`.
        """
        from layercache.resolver.ingest import Ingest

        self._resolver.check_open()
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

            if fetch is not None and not callable(fetch):
                raise wrong_type("fetch, a function of a digest", fetch)
            reaching = (lambda: client) if client else self._client
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

        wanted = None if platform is None else parse_platform(platform)
        images, reference, source = self._source_of(name)
        return images.from_source(source, reference, wanted)

    def platforms(
        self, name: str, *, missing: Callable[[LayercacheError], object] | None = None
    ) -> list[Image]:
        """Every platform of an image, and the attestations of its index.

        If the source lacks some of them, or some are wrong, ``missing`` is called with an error for each;
        without ``missing`` the first is raised. Offline, those whose documents are cached. Else as `image`.
        """
        images, reference, source = self._source_of(name)
        return images.all_from_source(source, reference, missing)

    def pull(
        self,
        images: str | Iterable[str],
        *,
        platform: str | None = None,
        form: Forms | None = None,
        jobs: int = 8,
        dry_run: bool = False,
        failed: Callable[[Exception], object] | None = None,
    ) -> Pulled:
        """Fetch the layers of images, ``jobs`` at a time, each layer once; return what became of each.

        An image is named as for `image`, or by a pattern of tags (``debian:12*``). ``platform``: as for
        `image`, or ``all``. ``form``: by default what the nearest tier stores, preferably compressed. Of
        several images the plan is made first, and none is pulled if they do not fit. ``dry_run``: the plan
        only; far tiers are asked too. What fails does not stop the rest: ``failed`` is called with each error
        at the end; without it the first is raised then. Raises `BackendError`, `InvalidNameError`.
        """
        from layercache.arguments import check_jobs, several
        from layercache.oci.forms import check_form
        from layercache.pull import pull

        self._resolver.check_open()
        check_jobs(jobs)
        if form is not None:
            check_form(form, both=True)
        return pull(self, several(images), platform=platform, form=form, jobs=jobs, dry_run=dry_run).check(
            failed
        )

    def manifest(self, name: str) -> tuple[Descriptor, bytes]:
        """The manifest or index that a name leads to, byte for byte, with its descriptor.

        Fetched and stored if it is not cached; offline, as it was last pulled. Raises as `image`.
        """
        images, reference, source = self._source_of(name)
        return images.root(source, reference)

    def registry_images(self) -> RegistryImages:
        """Images of registries, where what is cached and what registries say now are asked for apart."""
        from layercache.images.registry_images import RegistryImages

        return RegistryImages(self._images(), self._asked, None if self.offline else self._client)

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted; offline, those that were pulled.

        Raises `NotFoundError` if there is none, `InvalidNameError`, `SourceError`.
        """
        from layercache.images import repositories

        reference = repositories.repository_of(repository)
        if self.offline:
            return repositories.cached_tags(self._asked, reference)
        return repositories.tags_in_registry(self._client(), reference)

    def explain(self, name: str, *, platform: str | None = None) -> Explanation:
        """Where a layer (by digest or diff ID) or an image would come from, and why, as far as tiers know.

        ``platform`` as for `image`. Raises `InvalidNameError`, `ConfigError`.
        """
        from layercache.explain.explainer import Explainer

        self._resolver.check_open()
        settings = None if self.offline else self._registry.get().settings
        return Explainer(self.tiers, self._asked, self._resolver, settings).explain(name, platform)

    def info(self, name: str, *, platform: str | None = None) -> LayerInfo | ImageInfo:
        """What the tiers know of a layer or a blob (by digest or diff ID), or of an image; reads no layer.

        An image is described as it was last pulled; its documents are fetched if they are not cached.
        ``platform`` as for `image`. By the digest of its manifest or index, it is not fetched. Raises as
        `image`, and `NotFoundError` for a hash of which no tier knows anything.
        """
        from layercache.cache.describing import describe

        self._resolver.check_open()
        return describe(self.tiers, name, platform, self._source_of)

    def find(
        self,
        images: str | Iterable[str],
        patterns: str | Iterable[str],
        *,
        platform: str | None = None,
        jobs: int = 8,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> Iterator[Searched]:
        """Search images for files, ``jobs`` at a time; yield each image with what matches, in their order.

        Images are named as for `pull`. ``patterns`` of paths: ``*.conf`` in any folder, ``/etc/*.conf``,
        ``usr/**/METADATA``; see `files.globs.Glob`. Layers are not pulled: their tables are read, and made
        where there is none; a layer that images share is read once. What fails is the ``error`` of its image,
        and does not stop the rest. ``progress`` is called with images that are done, and all.
        """
        from layercache.arguments import check_jobs, several
        from layercache.cache.searching import search

        self._resolver.check_open()
        check_jobs(jobs)
        names, globs = several(images), several(patterns, "a pattern of paths, or several of them")
        return search(self, names, globs, platform=platform, jobs=jobs, progress=progress)

    def adopt(self, *, verify: bool = False) -> Adopted:
        """Make the nearest tier, a layout of another tool, a cache: record its images and their claims.

        ``verify``: inflate each layer, which confirms or refutes its diff ID. Raises `ConfigError` if it is
        not a layout, or read-only, `BackendError`.
        """
        from layercache.upkeep.adopt import adopt

        self._resolver.check_open()
        return adopt(self.tiers, self.layer, verify=verify)

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

        self._resolver.check_open()
        if not isinstance(target, str):
            raise wrong_type("a target, a str (oci:PATH, docker://REGISTRY/REPOSITORY:TAG)", target)
        targets = Targets(self._client, self._docker or DockerAddress)
        exporter = Exporter(self._asked, self._resolver, self._observers, targets, strict=self.strict)
        return exporter.export(name, target, platform, compression, progress)
