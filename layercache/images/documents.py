"""Reads the documents of one image from a tier, or from its source. Tiers that lack them get them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from layercache.errors import DigestMismatchError
from layercache.events import Event
from layercache.images.missing import missing_document
from layercache.oci.descriptor import DOCUMENT_MAX, media_type_of
from layercache.oci.documents import check_document, check_limit, refuse_schema_1
from layercache.oci.forms import COMPRESSED
from layercache.sources.origin import Rejectable
from layercache.tiers.documents import check_stated, read_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.events import Observers
    from layercache.images.writer import ImageWriter
    from layercache.oci.descriptor import Descriptor
    from layercache.sources import Source
    from layercache.tiers.tier import Tier


class ImageDocuments:
    """Reads manifests, indexes and configs, each checked by its hash. ``source`` is None offline.

    ``name`` is the image's, for messages. ``root`` is the image's own descriptor. Its size is a hint, since
    nothing that has a hash states it; once the root was read it is the true one.
    """

    def __init__(
        self,
        name: str,
        root: Descriptor,
        source: Source | None,
        tiers: Sequence[Tier],
        writer: ImageWriter,
        observers: Observers,
    ) -> None:
        self.name = name
        self.root = root
        self.source = source
        self._tiers = tiers
        self._writer = writer
        self._observers = observers
        self._max_size = max((tier.policy.max_document_size for tier in tiers), default=DOCUMENT_MAX)

    def is_root(self, descriptor: Descriptor) -> bool:
        return descriptor.digest == self.root.digest

    def manifest(self, descriptor: Descriptor) -> tuple[bytes, str]:
        """A manifest or an index, and its media type. Raises `SourceError` for Docker's schema 1."""
        data, what = self.read(descriptor), f"the manifest {descriptor.digest}"
        kind = media_type_of(data, descriptor.media_type, what)
        refuse_schema_1(kind, what)
        return data, kind

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or an index.

        Raises `NotFoundError`, `SourceError`, `DigestMismatchError`; `FormatError` where it is too big.
        """
        if (data := self._find(descriptor)) is not None:
            return data
        source = self._source_for(descriptor)
        data = source.document(descriptor)
        check_document(descriptor.digest, data, source.name)
        return self._keep(descriptor, data)

    def read_config(self, descriptor: Descriptor) -> bytes:
        """The bytes of a config. Raises as `read` does."""
        if (data := self._find(descriptor)) is not None:
            return data
        return self._keep(descriptor, self._fetch_config(descriptor))

    def _find(self, descriptor: Descriptor) -> bytes | None:
        if not self.is_root(descriptor):
            check_limit(descriptor.digest, descriptor.size, self._max_size)
        found = self._writer.find_document(descriptor.digest)
        if found is not None:
            self._check_size(descriptor, found)
        return found

    def _source_for(self, descriptor: Descriptor) -> Source:
        if self.source is None:
            raise missing_document(self._tiers, descriptor, self.root.digest, self.name)
        return self.source

    def _fetch_config(self, descriptor: Descriptor) -> bytes:
        source = self._source_for(descriptor)
        while True:  # ends: `refute` is true only while the source has another mirror to try
            reader = source.open_blob(descriptor)
            with reader:
                data = read_whole(reader, descriptor.digest, self._max_size)
            try:
                check_document(descriptor.digest, data, source.name)
            except DigestMismatchError as error:
                if not isinstance(reader, Rejectable) or not reader.refute(error):
                    raise
            else:
                return data

    def _keep(self, descriptor: Descriptor, data: bytes) -> bytes:
        self._check_size(descriptor, data)
        self._writer.keep_document(descriptor.digest, data)
        return data

    def _check_size(self, descriptor: Descriptor, data: bytes) -> None:
        """Raise `StatedSizeError` where a document has another size than its parent states.

        The root's size is only a hint from a HEAD, a tag or a layout's list, and is corrected.
        """
        if not self.is_root(descriptor):
            check_stated(descriptor, data)
        elif descriptor.size != len(data):
            note = f"has {len(data)} bytes, not the {descriptor.size} that were stated for it"
            self._observers.emit(Event("mislabelled", descriptor.digest, COMPRESSED, "", note=note))
            self.root = msgspec.structs.replace(descriptor, size=len(data))
