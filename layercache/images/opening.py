"""Opens images: from a reference to the manifest, the config, and pairs of digest and diff ID."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import IntegrityError, LayercacheError, NotFoundError, SourceError
from layercache.events import Event, Observers
from layercache.images.documents import ImageDocuments
from layercache.images.image import Image
from layercache.images.tags import Tags, image_key
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
from layercache.resolver.identity import LayerIdentity
from layercache.resolver.lookup import not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.oci.digest import DiffID
    from layercache.oci.image_tree import Node
    from layercache.oci.reference import Reference
    from layercache.resolver.resolver import Resolver
    from layercache.sources import Source
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
        self._tags = Tags(tiers, observers, strict=strict)

    def from_source(
        self, source: Source, reference: Reference | None, platform: Platform | None = None
    ) -> Image:
        """The image that the source has now. A registry's reference is recorded for use offline."""
        with self._resolve_reference(source, reference) as documents:
            return self._for_platform(str(reference or source.name), documents, platform)

    def all_from_source(
        self, source: Source, reference: Reference | None, missing: Missing | None = None
    ) -> list[Image]:
        """Every image of an index, in its order: each platform, and what describes them (attestations).

        ``missing`` is called with the error of each entry that cannot be opened, if another one can; without
        it the first error is raised. Images of a nested index come last.
        """
        with self._resolve_reference(source, reference) as documents:
            images, errors = self._all(str(reference or source.name), documents)
            for error in errors:
                if missing is None or not images:
                    raise error
                missing(error)
            return images

    def from_tiers(self, reference: Reference, platform: Platform | None = None) -> Image:
        """The image as it was last pulled; no source is asked. Raises `NotFoundError`."""
        documents = self._documents(self._tags.last(reference))
        return self._for_platform(str(reference), documents, platform)

    def all_from_tiers(self, reference: Reference) -> list[Image]:
        """Every image of an index whose documents are cached, as it was last pulled."""
        images, errors = self._all(str(reference), self._documents(self._tags.last(reference)))
        if wrong := [error for error in errors if not isinstance(error, NotFoundError)]:
            raise wrong[0]
        if not images:
            hint = "pull it while online (layercache pull)"
            raise not_found(self._tiers, f"no platform of {reference} is cached", hint)
        return images

    def root(self, source: Source | None, reference: Reference | None) -> tuple[Descriptor, bytes]:
        """The document that a reference leads to, with its bytes; ``source`` None: as it was last pulled."""
        if source is None:
            assert reference is not None, "offline skips registries only"
            return _root(self._documents(self._tags.last(reference)))
        with self._resolve_reference(source, reference) as documents:
            return _root(documents)

    def _documents(self, root: Descriptor, source: Source | None = None) -> ImageDocuments:
        return ImageDocuments(root, source, self._tiers, self._resolver.keeper, self._observers)

    @contextmanager
    def _resolve_reference(self, source: Source, reference: Reference | None) -> Iterator[ImageDocuments]:
        """Resolve a reference, from a tier if that is fresh; record the tag if the block succeeds."""
        root = self._cached_root(reference) if reference is not None else None
        if root is not None:
            yield self._documents(root, source)
            return
        try:
            root = source.root(new=reference is not None and self._has_no_tag(reference))
        except SourceError:
            if reference is None or not (root := self._tags.stopgap(reference, self._tag_age)):
                raise
            reference = None  # only the registry's own answer is recorded
        documents = self._documents(root, source)
        yield documents
        if reference is not None:
            key = image_key(reference)
            self._resolver.keeper.tag_image(key, documents.root, refresh=self._tag_age > 0)

    def _has_no_tag(self, reference: Reference) -> bool:
        """Whether no tier knows the reference. Remote tiers are not asked: that would cost too much."""
        if any(tier.remote for tier in self._tiers):
            return False
        try:
            return not self._tags.is_known(reference)
        except LayercacheError:  # a tier that fails does not know it either
            return True

    def _cached_root(self, reference: Reference) -> Descriptor | None:
        """The root that a tier has for a digest, or for a tag younger than ``tag_age``.

        None unless a tier has the root's document too.
        """
        if reference.digest is None and not self._tag_age:
            return None
        root = self._tags.fresh(reference, self._tag_age)
        return root if root and any(each.blobs.has(root.digest) for each in self._tiers) else None

    def _all(self, name: str, documents: ImageDocuments) -> tuple[list[Image], list[LayercacheError]]:
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
                    images.append(self._of_manifest(name, described, node.data, documents))
                elif node.parsed.blobs:
                    images.append(self._of_blobs(name, node, node.parsed.blobs, documents.source))
            except (NotFoundError, IntegrityError) as error:
                failed(node.descriptor, error)
        return images, errors

    def _for_platform(self, name: str, documents: ImageDocuments, platform: Platform | None) -> Image:
        wanted = platforms.normalized(platform) if platform else platforms.default_platform()
        offers = Offers(documents.manifest, documents.read_config)
        descriptor, data, kind = offers.choose(documents.root, wanted)
        image = self._of_manifest(name, _described(descriptor, data, kind), data, documents)
        if platform:
            platforms.check(name, image.platform, wanted)
        return image

    def _of_manifest(
        self, name: str, descriptor: Descriptor, data: bytes, documents: ImageDocuments
    ) -> Image:
        manifest = decode(data, Manifest, f"the manifest {descriptor.digest}")
        raw = documents.read_config(manifest.config)
        described = image_config(descriptor.media_type, manifest.config, raw)
        diff_ids = claimed_diff_ids(manifest, described)
        layers, foreign = self._layers(manifest.layers, diff_ids, documents.source)
        return Image(
            name=name,
            descriptor=descriptor,
            raw_manifest=data,
            manifest=decode_object(data, f"the manifest {descriptor.digest}"),
            config=decode_object(raw, f"the config {manifest.config.digest}") if described else {},
            layers=layers,
            foreign=foreign,
        )

    def _of_blobs(self, name: str, node: Node, blobs: list[Descriptor], source: Source | None) -> Image:
        layers, foreign = self._layers(blobs, [None] * len(blobs), source)
        return Image(
            name=name,
            descriptor=node.descriptor,
            raw_manifest=node.data,
            manifest=decode_object(node.data, f"the index {node.descriptor.digest}"),
            config={},
            layers=layers,
            foreign=foreign,
        )

    def _layers(
        self, blobs: Sequence[Descriptor], diff_ids: Sequence[DiffID | None], source: Source | None
    ) -> tuple[list[Layer], list[Descriptor]]:
        layers, foreign = [], []
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
            layers.append(Layer(self._resolver, identity, origin))
        return layers, foreign


def _root(documents: ImageDocuments) -> tuple[Descriptor, bytes]:
    data, kind = documents.manifest(documents.root)
    return _described(documents.root, data, kind), data


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

    def open(self, start: int) -> Reader:
        return self.source.open_blob(self.descriptor, start)
