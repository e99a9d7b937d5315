"""Images in a registry: a record each, and their manifests as soon as all that they name is there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import FormatError, NotFoundError, SourceError
from layercache.oci.image_tree import children_first, walk
from layercache.registry.encoding import TooBigError
from layercache.registry.retry import TransientError
from layercache.streams.readers import read_bounded
from layercache.tiers import keys
from layercache.tiers.registry.record import (
    image_record,
    image_tag_of,
    is_image_tag,
    manifest_tag_of,
    read_image,
)
from layercache.tiers.registry.records import RECORD_MAX
from layercache.tiers.stores import ImageStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.oci.descriptor import Descriptor
    from layercache.tiers.policy import Policy
    from layercache.tiers.registry.connection import Connection


class RegistryImages(ImageStore):
    """References of any registry; other tools pull an image that is whole by its digest."""

    def __init__(self, at: Connection, policy: Policy) -> None:
        self._at = at
        self._policy = policy

    def tag(self, key: str, descriptor: Descriptor) -> None:
        if key.startswith(f"{keys.IMAGES}{self._at.reference.registry}/"):
            self._at.mount_from = keys.image_repository(key)
        with self._at.failing_as_backend():
            self._at.records.put(image_tag_of(key), image_record(key, descriptor))
            self._keep_manifest(descriptor)

    def get(self, key: str) -> Descriptor:
        tag = image_tag_of(key)
        with self._at.failing_as_backend():
            try:
                data, _ = self._at.repository.manifest(tag, RECORD_MAX)
                found, descriptor = read_image(data)
            except (FormatError, TooBigError) as error:
                raise NotFoundError(f"{self._at.name}: {error.message}") from error
        if found != key:
            raise NotFoundError(f"{self._at.name}: {tag} is the record of another image")
        return descriptor

    def scan(self) -> Iterator[tuple[str, Descriptor]]:
        for tag, data in self._at.each(self._at.records.listed(is_image_tag)):
            with suppress(FormatError):
                key, descriptor = read_image(data)
                if image_tag_of(key) == tag:
                    yield key, descriptor

    def forget(self, key: str) -> None:
        with self._at.failing_as_backend():
            self._at.records.delete(image_tag_of(key))

    def _keep_manifest(self, descriptor: Descriptor) -> None:
        """Let other tools pull the image by its digest, if all of it is there.

        What a registry refuses to take as an image it still has as blobs, which is all that a cache needs.
        """

        def read(document: Descriptor) -> bytes:
            try:
                with self._at.repository.open_blob(document.digest) as reader:
                    return read_bounded(reader, self._policy.max_document_size, str(document.digest))
            except TransientError:
                raise
            except SourceError as error:
                raise NotFoundError(error.message) from error

        for node in children_first(walk(read, descriptor, failed=lambda _document, _error: None)):
            if node.parsed is None:
                continue
            try:
                # Each has a tag: what an index alone refers to, some garbage collections take.
                tag = manifest_tag_of(node.descriptor.digest)
                self._at.repository.put_manifest(tag, node.data, node.kind)
            except TransientError:
                raise
            except (NotFoundError, FormatError, SourceError):
                continue
