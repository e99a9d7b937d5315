"""What belongs to an image, out of the tiers alone: its documents byte for byte, and its layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.errors import FormatError, NotFoundError
from layercache.layer import Layer
from layercache.oci.descriptor import (
    INDEXES,
    MANIFESTS,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    claimed_diff_ids,
    decode,
    image_config,
    is_foreign,
    media_type_of,
)
from layercache.oci.offers import Offers
from layercache.oci.platforms import default_platform, normalized, select
from layercache.resolver.identity import LayerIdentity
from layercache.resolver.lookup import not_found
from layercache.tiers.documents import find_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.images.tags import Tags
    from layercache.oci.descriptor import Platform
    from layercache.oci.digest import DiffID, Digest
    from layercache.oci.reference import Reference
    from layercache.resolver.resolver import Resolver
    from layercache.tiers.tier import Tier


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, an index or a config, as it was pulled. The media type is the document's own."""

    descriptor: Descriptor
    data: bytes


@dataclass(slots=True)
class Contents:
    """What is exported: the manifest of one platform, or an index and all that it names."""

    root: Document
    manifests: list[Document] = field(default_factory=list)
    """Manifests and indexes, each after what it names: the root is the last."""
    configs: dict[Digest, Document] = field(default_factory=dict)
    images: dict[Digest, ImageConfig] = field(default_factory=dict)
    """What the configs of images say, by the config's digest; an artefact has no entry."""
    layers: dict[Digest, Layer] = field(default_factory=dict)
    """Every layer, once, lowest first."""
    sizes: dict[Digest, int] = field(default_factory=dict)
    """Bytes of each layer's blob, as its manifest states them."""
    foreign: set[Digest] = field(default_factory=set)


class Collector:
    """Gathers an image's contents out of tiers. No source is asked, and no layer is read."""

    def __init__(self, tiers: Sequence[Tier], resolver: Resolver, tags: Tags) -> None:
        self._tiers = tiers
        self._tags = tags
        self._resolver = resolver

    def collect(self, reference: Reference, platform: Platform | None, *, whole: bool) -> Contents:
        """One platform's manifest, by default this machine's; ``whole``: what the reference names, with all.

        Raises `NotFoundError` where it is not cached, `FormatError` for what is no image.
        """
        root = self._document(
            self._tags.last(reference, f"pull it first (layercache pull {reference.familiar})")
        )
        if not whole:
            wanted = normalized(platform) if platform else default_platform()
            offers = Offers(self._read_document, self._read)
            while root.descriptor.media_type in INDEXES:
                entries = decode(root.data, Index, f"the index {root.descriptor.digest}").manifests
                root = self._document(select(entries, wanted, offers.platforms))
        contents = Contents(root)
        self._add(root, contents)
        if platform and not whole:
            _check_platform(contents, reference, normalized(platform))
        return contents

    def _add(self, document: Document, contents: Contents) -> None:
        digest, kind = document.descriptor.digest, document.descriptor.media_type
        if any(each.descriptor.digest == digest for each in contents.manifests):
            return
        if kind in INDEXES:
            index = decode(document.data, Index, f"the index {digest}")
            for child in index.documents:
                self._add(self._document(child), contents)
            for blob in index.blobs:
                self._add_layer(blob, None, contents)
        elif kind in MANIFESTS:
            self._add_parts(kind, decode(document.data, Manifest, f"the manifest {digest}"), contents)
        else:
            raise FormatError(f"{digest} is {kind}, which is no image")
        contents.manifests.append(document)

    def _add_parts(self, kind: str, manifest: Manifest, contents: Contents) -> None:
        config = Document(manifest.config, self._read(manifest.config))
        contents.configs[manifest.config.digest] = config
        image = image_config(kind, manifest.config, config.data)
        if image is not None:
            contents.images[manifest.config.digest] = image
        for descriptor, diff_id in zip(manifest.layers, claimed_diff_ids(manifest, image), strict=True):
            self._add_layer(descriptor, diff_id, contents)

    def _add_layer(self, descriptor: Descriptor, diff_id: DiffID | None, contents: Contents) -> None:
        if is_foreign(descriptor.media_type):
            contents.foreign.add(descriptor.digest)
            return
        known = LayerIdentity(
            digest=descriptor.digest,
            diff_id=diff_id,
            stated_size=descriptor.size,
            media_type=descriptor.media_type,
        )
        contents.layers.setdefault(descriptor.digest, Layer(self._resolver, known))
        contents.sizes[descriptor.digest] = descriptor.size

    def _read_document(self, descriptor: Descriptor) -> tuple[bytes, str]:
        document = self._document(descriptor)
        return document.data, document.descriptor.media_type

    def _document(self, descriptor: Descriptor) -> Document:
        data = self._read(descriptor)
        kind = media_type_of(data, descriptor.media_type, f"the manifest {descriptor.digest}")
        return Document(Descriptor(media_type=kind, digest=descriptor.digest, size=len(data)), data)

    def _read(self, descriptor: Descriptor) -> bytes:
        data = find_document(self._tiers, descriptor.digest)
        if data is not None:
            return data
        raise not_found(
            self._tiers,
            f"the document {descriptor.digest} is not cached",
            "it belongs to a platform that was not pulled: pull it, or name one that was (--platform)",
        )


def _check_platform(contents: Contents, reference: Reference, wanted: Platform) -> None:
    """What is no index has one platform, whichever is asked for."""
    for image in contents.images.values():
        own = normalized(image.platform)
        if image.os and (own.os, own.architecture) != (wanted.os, wanted.architecture):
            raise NotFoundError(f"{reference} has no {wanted}", hint=f"it is for {own} only")
