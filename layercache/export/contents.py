"""Collects what an image consists of, from the tiers: its documents byte for byte, and its layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.errors import FormatError
from layercache.images.missing import missing_document
from layercache.images.writer import ImageWriter
from layercache.layer import Layer
from layercache.oci.descriptor import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    claimed_diff_ids,
    image_config,
    is_foreign,
    media_type_of,
)
from layercache.oci.image_tree import children_first, walk
from layercache.oci.offers import Offers
from layercache.oci.platforms import check, default_platform, normalized
from layercache.resolver.identity import LayerIdentity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.images.tags import Tags
    from layercache.oci.descriptor import Platform
    from layercache.oci.digest import DiffID, Digest
    from layercache.oci.image_tree import Node
    from layercache.oci.reference import Reference
    from layercache.resolver.resolver import Resolver
    from layercache.tiers.tier import Tier


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, an index or a config, as it was pulled, with its own media type."""

    descriptor: Descriptor
    data: bytes


@dataclass(slots=True)
class Contents:
    """What to export: the manifest of one platform, or an index with everything that it lists."""

    root: Document
    manifests: list[Document] = field(default_factory=list)
    """Manifests and indexes, each after what it lists: the root comes last."""
    configs: dict[Digest, Document] = field(default_factory=dict)
    images: dict[Digest, ImageConfig] = field(default_factory=dict)
    """The configs of images, parsed, by digest; an artefact has no entry."""
    layers: dict[Digest, Layer] = field(default_factory=dict)
    """Every layer, once, lowest first."""
    sizes: dict[Digest, int] = field(default_factory=dict)
    """Bytes of each layer's blob, as its manifest states them."""
    foreign: set[Digest] = field(default_factory=set)


class Collector:
    """Collects one image's contents from tiers. It asks no source and reads no layer."""

    def __init__(self, tiers: Sequence[Tier], resolver: Resolver, tags: Tags) -> None:
        self._tiers = tiers
        self._tags = tags
        self._resolver = resolver
        self._writer = ImageWriter(tiers, resolver.keeper)
        self._name = ""
        self._root: Digest | None = None

    def collect(self, reference: Reference, platform: Platform | None, *, whole: bool) -> Contents:
        """Collect one platform, by default this machine's; ``whole``: the index with everything it lists.

        Raises `NotFoundError` where it is not cached, `FormatError` where it is not an image.
        """
        found = self._tags.last(reference)
        self._name, self._root = str(reference), found.root.digest
        contents = self._gather(found.root) if whole else self._one_platform(found.root, platform)
        self._tags.bring_nearer(found, found.root)
        return contents

    def _one_platform(self, root: Descriptor, platform: Platform | None) -> Contents:
        wanted = normalized(platform) if platform else default_platform()
        chosen, _, _ = Offers(self._read_document, self._read).choose(root, wanted)
        contents = self._gather(chosen)
        if platform:
            for image in contents.images.values():
                check(self._name, image.platform, wanted)
        return contents

    def _gather(self, root: Descriptor) -> Contents:
        nodes = children_first(walk(self._read, root))
        manifests = [Document(_described(node), node.data) for node in nodes]
        contents = Contents(manifests[-1], manifests)
        for node in nodes:
            match node.parsed:
                case Index() as index:
                    for blob in index.blobs:
                        self._add_layer(blob, None, contents)
                case Manifest() as manifest:
                    self._add_parts(node.kind, manifest, contents)
                case None:
                    raise FormatError(f"{node.descriptor.digest} is {node.kind}, which is not an image")
        return contents

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
        identity = LayerIdentity.stated(descriptor.digest, diff_id, descriptor.size, descriptor.media_type)
        contents.layers.setdefault(descriptor.digest, Layer(self._resolver, identity, image=self._name))
        contents.sizes[descriptor.digest] = descriptor.size

    def _read_document(self, descriptor: Descriptor) -> tuple[bytes, str]:
        data = self._read(descriptor)
        return data, media_type_of(data, descriptor.media_type, f"the manifest {descriptor.digest}")

    def _read(self, descriptor: Descriptor) -> bytes:
        data = self._writer.find_document(descriptor.digest)
        if data is not None:
            return data
        raise missing_document(self._tiers, descriptor, self._root, self._name)


def _described(node: Node) -> Descriptor:
    return Descriptor(media_type=node.kind, digest=node.descriptor.digest, size=len(node.data))
