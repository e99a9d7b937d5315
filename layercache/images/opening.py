"""Images: reference, manifest, config, and the layers that they name in pairs of digest and diff ID."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from layercache.errors import (
    DigestMismatchError,
    IntegrityError,
    LayercacheError,
    NotFoundError,
    SourceError,
)
from layercache.events import Event, Observers
from layercache.images.image import Image
from layercache.images.tags import Tags, image_key
from layercache.layer import Layer
from layercache.oci.descriptor import (
    DOCKER_SCHEMA_1,
    DOCUMENT_MAX,
    INDEXES,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    claimed_diff_ids,
    decode,
    decode_object,
    image_config,
    is_foreign,
    media_type_of,
)
from layercache.oci.forms import COMPRESSED
from layercache.oci.offers import Offers
from layercache.oci.platforms import default_platform, normalized, select
from layercache.resolver.identity import LayerIdentity
from layercache.resolver.lookup import not_found
from layercache.sources.origin import Rejectable
from layercache.tiers.documents import check_document, check_stated, find_document, read_whole, refuse_too_big

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.oci.digest import DiffID, Digest
    from layercache.oci.reference import Reference
    from layercache.resolver.resolver import Resolver
    from layercache.sources import Source
    from layercache.tiers.tier import Tier

    Missing = Callable[[LayercacheError], object]


_PULL = "pull it while online (layercache pull)"


class Images:
    """Opens images out of tiers and sources; keeps their documents in every tier that can be written to."""

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
        self._max_document = max((tier.policy.max_document_size for tier in tiers), default=DOCUMENT_MAX)
        self._root: Descriptor | None = None
        """What is opened. Its stated size is a hint, as nothing that has a hash states it."""

    def from_source(
        self, source: Source, reference: Reference | None, platform: Platform | None = None
    ) -> Image:
        """The image that the source has now. What a registry's reference names is kept for use offline."""
        with self._rooted(source, reference) as root:
            return self._open(str(reference or source.name), root, platform, source)

    def all_from_source(
        self, source: Source, reference: Reference | None, missing: Missing | None = None
    ) -> list[Image]:
        """Every image of an index, in its order: each platform, and what describes them (attestations).

        ``missing`` is called with why an entry cannot be had, if any can; without, that is raised.
        """
        with self._rooted(source, reference) as root:
            images, errors = self._all(str(reference or source.name), root, source)
            for error in errors:
                if missing is None or not images:
                    raise error
                missing(error)
            return images

    def from_tiers(self, reference: Reference, platform: Platform | None = None) -> Image:
        """The image as it was when it was last pulled, without any source. Raises `NotFoundError`."""
        self._root = self._tags.last(reference, _PULL)
        return self._open(str(reference), self._root, platform, None)

    def all_from_tiers(self, reference: Reference) -> list[Image]:
        """Every image of an index whose documents are there, as it was when it was last pulled."""
        self._root = self._tags.last(reference, _PULL)
        images, errors = self._all(str(reference), self._root, None)
        if wrong := [error for error in errors if not isinstance(error, NotFoundError)]:
            raise wrong[0]
        if not images:
            raise not_found(self._tiers, f"no platform of {reference} is cached", _PULL)
        return images

    @contextmanager
    def _rooted(self, source: Source, reference: Reference | None) -> Iterator[Descriptor]:
        """What the source names, as a tier has it if that needs no check; kept if the block goes well."""
        self._root = self._unchecked(reference) if reference is not None else None
        if self._root is not None:
            yield self._root
            return
        try:
            self._root = source.root(new=reference is not None and self._is_new(reference))
        except SourceError:
            if reference is None or not (root := self._tags.stopgap(reference, self._tag_age)):
                raise
            self._root, reference = root, None  # nothing to keep: it is not our word
        yield self._root
        if reference is not None:
            self._resolver.keeper.tag_image(image_key(reference), self._root, refresh=self._tag_age > 0)

    def _is_new(self, reference: Reference) -> bool:
        """Whether no tier has heard of it. Where some are far, to ask them would cost what it can save."""
        if any(tier.remote for tier in self._tiers):
            return False
        try:
            return not self._tags.is_known(reference)
        except LayercacheError:  # a tier that cannot be asked has not heard of it
            return True

    def _unchecked(self, reference: Reference) -> Descriptor | None:
        """What a tier has for a reference that needs no check: a digest, or a tag within its age.

        Only where the document is there too, in any tier.
        """
        if reference.digest is None and not self._tag_age:
            return None
        root = self._tags.fresh(reference, self._tag_age)
        return root if root and any(each.has_blob(root.digest) for each in self._tiers) else None

    def _all(
        self, name: str, root: Descriptor, source: Source | None
    ) -> tuple[list[Image], list[LayercacheError]]:
        """The images below a manifest or an index, and why others cannot be had: not there, or wrong.

        The blobs that an index lists itself are one more image, of no platform. Raises `SourceError`, and
        what the root's own document fails with.
        """
        images: list[Image] = []
        errors: list[LayercacheError] = []
        seen: set[Digest] = set()
        todo = [root]
        while todo:
            entry = todo.pop()
            if entry.digest in seen:
                continue
            seen.add(entry.digest)
            try:
                data, kind = b"", entry.media_type
                if kind in INDEXES or self._is_root(entry):
                    data, kind = self._document(entry, source)
                if kind not in INDEXES:
                    images.append(self._open(name, entry, None, source))
                    continue
                index = decode(data, Index, f"the index {entry.digest}")
                todo += reversed(index.documents)
                if index.blobs:
                    images.append(self._loose(name, entry, data, index.blobs, source))
            except (NotFoundError, IntegrityError) as error:
                if self._is_root(entry):
                    raise
                errors.append(error)
        return images, errors

    def _loose(
        self, name: str, entry: Descriptor, data: bytes, blobs: list[Descriptor], source: Source | None
    ) -> Image:
        layers, foreign = self._layers(blobs, [None] * len(blobs), source)
        return Image(name, entry, decode_object(data, f"the index {entry.digest}"), {}, layers, foreign)

    def _open(self, name: str, root: Descriptor, platform: Platform | None, source: Source | None) -> Image:
        wanted = normalized(platform) if platform else default_platform()
        descriptor = root
        data, kind = self._document(root, source)
        fetch = source.open_blob if source else None
        offers = Offers(lambda each: self._document(each, source), lambda each: self._blob(each, fetch))
        while kind in INDEXES:
            entries = decode(data, Index, f"the index {descriptor.digest}").manifests
            descriptor = select(entries, wanted, offers.platforms)
            data, kind = self._document(descriptor, source)
        manifest = decode(data, Manifest, f"the manifest {descriptor.digest}")
        raw = self._blob(manifest.config, fetch)
        described = image_config(kind, manifest.config, raw)
        if platform and described and described.os and not _fits(described, wanted):
            raise NotFoundError(
                f"{name} has no {wanted}", hint=f"it is for {described.os}/{described.architecture} only"
            )
        layers, foreign = self._layers(manifest.layers, claimed_diff_ids(manifest, described), source)
        descriptor = Descriptor(media_type=kind, digest=descriptor.digest, size=len(data))
        fields = decode_object(data, f"the manifest {descriptor.digest}")
        config = decode_object(raw, f"the config {manifest.config.digest}") if described else {}
        return Image(name, descriptor, fields, config, layers, foreign)

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
            known = LayerIdentity(
                digest=descriptor.digest,
                diff_id=diff_id,
                stated_size=descriptor.size,
                media_type=descriptor.media_type,
                origin=_BlobOrigin(source, descriptor) if source else None,
            )
            layers.append(Layer(self._resolver, known))
        return layers, foreign

    def _document(self, descriptor: Descriptor, source: Source | None) -> tuple[bytes, str]:
        """A manifest or index, and what it is. Raises `SourceError` for Docker's schema 1."""
        what = f"the manifest {descriptor.digest}"
        data = self._blob(descriptor, (lambda each: source.document(each)) if source else None)
        kind = media_type_of(data, descriptor.media_type, what)
        if kind in DOCKER_SCHEMA_1:
            raise SourceError(
                f"{what} is in Docker's schema 1, which has no digests of its config or diff IDs",
                hint="push the image again with a current tool, as schema 2 or OCI",
            )
        return data, kind

    def _blob(self, descriptor: Descriptor, fetch: Callable[[Descriptor], bytes | Reader] | None) -> bytes:
        """A small blob, whole: out of a tier, else out of the source and then kept."""
        name, keeper = descriptor.digest, self._resolver.keeper
        if not self._is_root(descriptor):
            refuse_too_big(name, descriptor.size, self._max_document)
        found = find_document(
            self._tiers,
            name,
            wrong=lambda tier, error: keeper.pass_over(tier, name, COMPRESSED, error.message),
        )
        if found is not None:
            self._judge_size(descriptor, found)
            return found
        if fetch is None:
            raise not_found(
                self._tiers,
                f"the document {name} is not cached",
                "pull the image, for this platform, while online",
            )
        fetched = fetch(descriptor)
        if isinstance(fetched, bytes):
            data = fetched
        else:
            with fetched:
                data = read_whole(fetched, name, self._max_document)
        try:
            check_document(name, data)
        except DigestMismatchError as error:
            if isinstance(fetched, Rejectable) and fetched.refute(error):
                return self._blob(descriptor, fetch)
            raise
        self._judge_size(descriptor, data)
        keeper.keep_document(name, data)
        return data

    def _judge_size(self, descriptor: Descriptor, data: bytes) -> None:
        """Raise `StatedSizeError` where a document that is right has another size than one above it states.

        What only a HEAD, a tag or a layout's list states of the root is corrected.
        """
        if not self._is_root(descriptor):
            check_stated(descriptor, data)
        elif descriptor.size != len(data):
            note = f"has {len(data)} bytes, not the {descriptor.size} that were stated for it"
            self._observers.emit(Event("mislabelled", descriptor.digest, COMPRESSED, "", note=note))
            self._root = msgspec.structs.replace(descriptor, size=len(data))

    def _is_root(self, descriptor: Descriptor) -> bool:
        return self._root is not None and descriptor.digest == self._root.digest


def _fits(config: ImageConfig, wanted: Platform) -> bool:
    own = normalized(config.platform)
    return (own.os, own.architecture) == (wanted.os, wanted.architecture)


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
