"""What a tier holds of an image: its documents, the platforms that are whole, what its configs claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError, NotFoundError
from layercache.oci.descriptor import (
    Descriptor,
    ImageConfig,
    Manifest,
    Platform,
    claimed_diff_ids,
    image_config,
    is_foreign,
)
from layercache.oci.image_tree import walk
from layercache.tiers.association import Association
from layercache.tiers.documents import read_document
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier


class CachedManifest(Value, frozen=True):
    """One image manifest in a tier, with the config if that is there and is an image's.

    ``listed``: what the index says of its platform.
    """

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig | None
    listed: Platform | None = None

    @property
    def platform(self) -> Platform:
        if self.config is not None and self.config.os:
            return self.config.platform
        return self.listed or Platform()

    def blobs(self) -> Iterator[Descriptor]:
        """What must be there for the image to be complete; foreign layers are never stored."""
        yield self.descriptor
        yield self.manifest.config
        for layer in self.manifest.layers:
            if not is_foreign(layer.media_type):
                yield layer

    def is_whole(self, has: Callable[[Hash], bool]) -> bool:
        return all(has(blob.digest) for blob in self.blobs())

    def claims(self) -> Iterator[Association]:
        """What the config says of the layers; nothing where it is not an image's, or does not fit."""
        try:
            diff_ids = claimed_diff_ids(self.manifest, self.config)
        except FormatError:
            return
        for layer, diff_id in zip(self.manifest.layers, diff_ids, strict=True):
            if diff_id is not None and not is_foreign(layer.media_type):
                yield Association(
                    digest=layer.digest, diff_id=diff_id, size=layer.size, media_type=layer.media_type
                )


def cached_manifests(tier: Tier, root: Descriptor) -> Iterator[CachedManifest]:
    """The image manifests below a manifest or an index, each once, as far as they are in the tier."""

    def read(document: Descriptor) -> bytes:
        return read_document(tier, document.digest)

    for node in walk(read, root, failed=lambda _document, _error: None):
        if isinstance(node.parsed, Manifest):
            config = _config(tier, node.kind, node.parsed.config)
            yield CachedManifest(node.descriptor, node.parsed, config, node.descriptor.platform)


def _config(tier: Tier, kind: str, config: Descriptor) -> ImageConfig | None:
    try:
        return image_config(kind, config, read_document(tier, config.digest))
    except (NotFoundError, FormatError, DigestMismatchError):
        return None
