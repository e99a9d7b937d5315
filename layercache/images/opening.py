"""Opens images: from a reference to the manifest, the config, and pairs of digest and diff ID."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import IntegrityError, LayercacheError, NotFoundError, SourceError
from layercache.events import Event, Observers
from layercache.images.documents import ImageDocuments
from layercache.images.image import Image
from layercache.images.tags import CachedManifest, Tags
from layercache.images.writer import ImageWriter
from layercache.layer import Layer
from layercache.oci import platforms
from layercache.oci.descriptor import (
    Descriptor,
    Index,
    Manifest,
    Platform,
    claimed_diff_ids,
    decode,
    decode_object,
    image_config,
    is_foreign,
)
from layercache.oci.documents import refuse_schema_1
from layercache.oci.forms import COMPRESSED
from layercache.oci.image_tree import walk
from layercache.oci.offers import Offers
from layercache.resolver.absence import not_found
from layercache.resolver.identity import LayerIdentity
from layercache.tiers import keys
from layercache.tiers.tag_origin import IMPORTED_FROM, PUBLIC, marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.images.hosted import HostedImages
    from layercache.images.tags import Found
    from layercache.oci.digest import DiffID
    from layercache.oci.image_tree import Node
    from layercache.oci.reference import Reference
    from layercache.resolver.resolver import Resolver
    from layercache.sources import Source
    from layercache.statistics.places import Place
    from layercache.tiers.tier import Tier

    Missing = Callable[[LayercacheError], object]


class Images:
    """Opens images from tiers and sources, and writes their documents to every writable tier."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        resolver: Resolver,
        observers: Observers,
        *,
        tag_age: float = 0,
        strict: bool = False,
    ) -> None:
        self._tiers = tiers
        self._resolver = resolver
        self._observers = observers
        self._tag_age = tag_age
        self._writer = ImageWriter(tiers, resolver.keeper)
        self._tags = Tags(tiers, self._writer, observers, strict=strict)

    def hosted(self) -> HostedImages:
        """Images whose registry is this cache."""
        from layercache.images.hosted import HostedImages

        return HostedImages(self._tiers, self._resolver.keeper, self._writer)

    def from_source(
        self, source: Source | None, reference: Reference | None, platform: Platform | None = None
    ) -> Image:
        """The image that the source has now; without a source, as it was last pulled.

        It is recorded under its names, for use offline.
        """
        with self._resolve_reference(source, reference) as documents:
            return self._for_platform(documents, platform)

    def all_from_source(
        self, source: Source | None, reference: Reference | None, missing: Missing | None = None
    ) -> list[Image]:
        """Every image of an index, in its order: each platform, and what describes them (attestations).

        ``missing`` is called with the error of each entry that cannot be opened, if another one can; without
        it the first error is raised. Images of a nested index come last. Without a source, those whose
        documents are cached.
        """
        if source is None:
            return self._all_from_tiers(reference)
        with self._resolve_reference(source, reference) as documents:
            images, errors = self._all(documents)
            for error in errors:
                if missing is None or not images:
                    raise error
                missing(error)
            return images

    def _all_from_tiers(self, reference: Reference | None) -> list[Image]:
        with self._resolve_reference(None, reference) as documents:
            images, errors = self._all(documents)
            if wrong := [error for error in errors if not isinstance(error, NotFoundError)]:
                raise wrong[0]
            if not images:
                hint = "pull it while online (layercache pull)"
                raise not_found(self._tiers, f"no platform of {reference} is cached", hint)
            return images

    def root(self, source: Source | None, reference: Reference | None) -> tuple[Descriptor, bytes]:
        """The document that a reference leads to, with its bytes; ``source`` None: as it was last pulled."""
        with self._resolve_reference(source, reference) as documents:
            data, kind = documents.manifest(documents.root)
            return _described(documents.root, data, kind), data

    def cached_root(self, reference: Reference) -> CachedManifest:
        """The document that a reference led to when it was last pulled. Raises `NotFoundError`."""
        found = self._tags.known(reference)
        if found is None:
            raise NotFoundError(f"{reference} is not cached")
        documents = self._documents(reference, found.root, None)
        data, kind = documents.manifest(found.root)
        if found.trusted:  # a nearer tier would be taken at its word
            self._tags.bring_nearer(found, documents.root)
        root = _described(documents.root, data, kind)
        return CachedManifest(root, data, found.checked or 0.0, found.recorded, found.trusted)

    def root_at(
        self, source: Source, reference: Reference, *, new: bool, public: bool
    ) -> tuple[Descriptor, bytes]:
        """As `root`, but the source is asked whatever tiers say, and nothing stands in for its answer.

        ``new``: no tier has the document. ``public``: record that everybody may read it there.
        """
        documents = self._documents(reference, source.root(new=new), source)
        data, kind = documents.manifest(documents.root)
        named = marked(documents.root, PUBLIC, "true") if public else documents.root
        self._writer.tag(keys.image_key(reference), named, refresh=reference.digest is None)
        return _described(documents.root, data, kind), data

    @contextmanager
    def _resolve_reference(
        self, source: Source | None, reference: Reference | None
    ) -> Iterator[ImageDocuments]:
        """Resolve a reference: from a tier if that is fresh or there is no source, else from the source.

        If the block succeeds, tiers that do not know yet what the reference names get it.
        """
        found = self._in_tiers(source, reference)
        root = found.root if found else None
        if root is None and source is not None:
            try:
                root = source.root(new=reference is not None and self._has_no_tag(reference))
            except (SourceError, NotFoundError) as error:
                if reference is None or not (found := self._tags.stopgap(reference, self._tag_age, error)):
                    raise
                root = found.root
        assert root is not None, "without a source a tier has it, or there was an error"
        documents = self._documents(reference, root, source)
        yield documents
        if found is not None:
            self._tags.bring_nearer(found, documents.root)
        elif reference is not None:
            self._writer.tag(keys.image_key(reference), documents.root, refresh=self._tag_age > 0)
        elif source is not None:
            self._import(source, documents.root)

    def _import(self, source: Source, root: Descriptor) -> None:
        """Record an image of a layout or an archive under the names that it has there.

        A tag that a registry gave to another image stays as it is, and an event reports that.
        """
        annotations = {IMPORTED_FROM: source.name.partition(":")[0]}
        image = Descriptor(
            media_type=root.media_type, digest=root.digest, size=root.size, annotations=annotations
        )
        for reference in source.references():
            key = keys.image_key(reference)
            recorded = self._writer.import_tag(key, image)
            name = keys.image_name(recorded)
            if recorded != key:
                note = f"{reference} stays what its registry said: this image is recorded as {name}"
                self._observers.emit(Event("unconfirmed", root.digest, COMPRESSED, source.name, note=note))
            self._observers.emit(Event("imported", root.digest, COMPRESSED, source.name, note=name))

    def _documents(
        self, reference: Reference | None, root: Descriptor, source: Source | None
    ) -> ImageDocuments:
        name = str(reference) if reference else source.name if source else ""
        return ImageDocuments(name, root, source, self._tiers, self._writer, self._observers)

    def _in_tiers(self, source: Source | None, reference: Reference | None) -> Found | None:
        """What tiers say of a reference: without a source what was last pulled, else what needs no check.

        That is the root of a digest, or of a tag younger than ``tag_age``, if a tier has the root's document.
        """
        if source is None:
            assert reference is not None, "offline skips registries only"
            return self._tags.last(reference)
        if reference is None or (reference.digest is None and not self._tag_age):
            return None
        found = self._tags.fresh(reference, self._tag_age)
        return found if found and any(each.blobs.has(found.root.digest) for each in self._tiers) else None

    def _has_no_tag(self, reference: Reference) -> bool:
        """Whether no tier knows the reference. Remote tiers are not asked: that would cost too much."""
        if any(tier.remote for tier in self._tiers):
            return False
        try:
            return not self._tags.is_known(reference)
        except LayercacheError:  # a tier that fails does not know it either
            return True

    def _all(self, documents: ImageDocuments) -> tuple[list[Image], list[LayercacheError]]:
        """The images below a manifest or an index, and the errors of those that are missing or wrong.

        Blobs that an index lists directly form one more image, without a platform. Raises `SourceError`, and
        the error of the root's own document.
        """
        images: list[Image] = []
        errors: list[LayercacheError] = []

        def failed(document: Descriptor, error: NotFoundError | IntegrityError) -> None:
            if documents.is_root(document):
                raise error
            errors.append(error)

        for node in walk(documents.read, documents.root, failed):
            try:
                if not isinstance(node.parsed, Index):
                    refuse_schema_1(node.kind, f"the manifest {node.descriptor.digest}")
                    described = _described(node.descriptor, node.data, node.kind)
                    images.append(self._of_manifest(described, node.data, documents))
                elif node.parsed.blobs:
                    images.append(self._of_blobs(node, node.parsed.blobs, documents))
            except (NotFoundError, IntegrityError) as error:
                failed(node.descriptor, error)
        return images, errors

    def _for_platform(self, documents: ImageDocuments, platform: Platform | None) -> Image:
        wanted = platforms.normalized(platform) if platform else platforms.default_platform()
        offers = Offers(documents.manifest, documents.read_config)
        descriptor, data, kind = offers.choose(documents.root, wanted)
        image = self._of_manifest(_described(descriptor, data, kind), data, documents)
        if platform:
            platforms.check(documents.name, image.platform, wanted)
        return image

    def _of_manifest(self, descriptor: Descriptor, data: bytes, documents: ImageDocuments) -> Image:
        manifest = decode(data, Manifest, f"the manifest {descriptor.digest}")
        raw = documents.read_config(manifest.config)
        described = image_config(descriptor.media_type, manifest.config, raw)
        diff_ids = claimed_diff_ids(manifest, described)
        layers, foreign = self._layers(manifest.layers, diff_ids, documents)
        return Image(
            name=documents.name,
            descriptor=descriptor,
            root=documents.root,
            raw_manifest=data,
            manifest=decode_object(data, f"the manifest {descriptor.digest}"),
            config=decode_object(raw, f"the config {manifest.config.digest}") if described else {},
            raw_config=raw,
            layers=layers,
            foreign=foreign,
        )

    def _of_blobs(self, node: Node, blobs: list[Descriptor], documents: ImageDocuments) -> Image:
        layers, foreign = self._layers(blobs, [None] * len(blobs), documents)
        return Image(
            name=documents.name,
            descriptor=node.descriptor,
            root=documents.root,
            raw_manifest=node.data,
            manifest=decode_object(node.data, f"the index {node.descriptor.digest}"),
            config={},
            raw_config=b"",
            layers=layers,
            foreign=foreign,
        )

    def _layers(
        self, blobs: Sequence[Descriptor], diff_ids: Sequence[DiffID | None], documents: ImageDocuments
    ) -> tuple[list[Layer], list[Descriptor]]:
        layers, foreign, source = [], [], documents.source
        for descriptor, diff_id in zip(blobs, diff_ids, strict=True):
            if is_foreign(descriptor.media_type):
                foreign.append(descriptor)
                self._observers.emit(
                    Event("skipped", descriptor.digest, COMPRESSED, "", size=descriptor.size)
                )
                continue
            identity = LayerIdentity.stated(
                descriptor.digest, diff_id, descriptor.size, descriptor.media_type
            )
            origin = _BlobOrigin(source, descriptor) if source else None
            stated = descriptor.annotations
            layer = Layer(self._resolver, identity, origin, image=documents.name, annotations=stated)
            layers.append(layer)
        return layers, foreign


def _described(listed: Descriptor, data: bytes, kind: str) -> Descriptor:
    """A manifest's descriptor from its own bytes, without the index's annotations."""
    return Descriptor(media_type=kind, digest=listed.digest, size=len(data))


@dataclass(frozen=True, slots=True)
class _BlobOrigin:
    """A blob of an image, in the image's source."""

    source: Source
    descriptor: Descriptor

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def place(self) -> Place:
        return self.source.place

    def open(self, start: int, end: int | None = None) -> Reader:
        return self.source.open_blob(self.descriptor, start, end)
