"""Exports an image to a registry: missing blobs first, then manifests, children before their index."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from layercache.errors import InvalidNameError
from layercache.export.files import until_right
from layercache.oci.forms import COMPRESSED
from layercache.registry.repository import Repository
from layercache.streams.readers import verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.export.contents import Contents
    from layercache.layer import Layer
    from layercache.oci.digest import Digest
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.registry.upload import Bytes


class RegistryTarget:
    """A repository and a tag. Blobs are mounted from where the image was ``pulled``, on the same registry."""

    one_platform: ClassVar[bool] = False

    def __init__(self, client: RegistryClient, reference: Reference, pulled: Reference) -> None:
        self._repository = Repository(client, reference.registry, reference.repository)
        self._reference = reference
        same = pulled.registry == reference.registry and pulled.repository != reference.repository
        self._mount_from = pulled.repository if same else ""

    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write everything; return how many blobs were sent, and how many bytes."""
        root = contents.root.descriptor.digest
        if self._reference.digest not in (None, root):
            raise InvalidNameError(
                f"{self._reference} is another image: this one is {root}", hint="name a tag to export it to"
            )
        sent = []
        for digest, layer in contents.layers.items():
            if not self._repository.has_blob(digest):
                sent.append(until_right(layer, COMPRESSED, partial(self._push_layer, digest, layer)))
            seen(contents.sizes[digest])
        for digest, config in contents.configs.items():
            if not self._repository.has_blob(digest):
                sent.append(self._push(digest, io.BytesIO(config.data)))
        for manifest in contents.manifests:
            digest = manifest.descriptor.digest
            selector = self._reference.tag if digest == root else None
            self._repository.put_manifest(selector or digest, manifest.data, manifest.descriptor.media_type)
        sizes = [size for size in sent if size]
        return len(sizes), sum(sizes)

    def _push_layer(self, digest: Digest, layer: Layer) -> int:
        with layer.compressed() as stream:
            return self._push(digest, verified(cast("Reader", stream), digest))

    def _push(self, digest: Digest, source: Bytes) -> int:
        """Push a blob; return the bytes sent, 0 if it was mounted. The registry checks the hash."""
        return self._repository.push(digest, source, mount_from=self._mount_from) or 0
