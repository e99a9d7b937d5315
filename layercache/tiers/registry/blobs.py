"""Blobs in a registry."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

from layercache.backend import Entry, check_range
from layercache.errors import DigestMismatchError, NotFoundError, SourceError
from layercache.registry.upload import UPLOAD_PIECE
from layercache.streams.readers import WrappingReader
from layercache.tiers import keys
from layercache.tiers.stores import BlobStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Reader
    from layercache.backend.capabilities import Counting
    from layercache.oci.digest import Hash
    from layercache.registry.upload import Bytes
    from layercache.tiers.registry.connection import Connection

SMALL = UPLOAD_PIECE
"""Bytes of a blob that is sent in one request: of those, only the record is read before."""


class RegistryBlobs(BlobStore):
    """Blobs as the registry has them, each with a record of its name that keeps it and shows when it came."""

    def __init__(self, at: Connection) -> None:
        self._at = at

    def open(self, name: Hash, start: int = 0, end: int | None = None) -> Reader:
        check_range(start, end)
        with self._at.failing_as_backend():
            return _BlobReader(self._at.repository.open_blob(name, start, end), self._at)

    def stat(self, name: Hash) -> Entry:
        with self._at.failing_as_backend():
            size = self._at.repository.blob_size(name)
            return Entry(keys.blob(name), size, self._at.records.read(name).published)

    def size(self, name: Hash) -> int:
        with self._at.failing_as_backend():
            return self._at.repository.blob_size(name)

    def has(self, name: Hash) -> bool:
        with self._at.failing_as_backend():
            return self._at.repository.has_blob(name)

    def put(self, name: Hash, data: bytes) -> None:
        if not self.has(name):
            self._push(name, io.BytesIO(data))

    def create(self, name: Hash, reader: Reader, size: int) -> bool | None:
        """As `BlobStore.create`. That a blob is there its record says, which has to be read in any case."""
        if size > SMALL:
            return None
        with self._at.failing_as_backend():
            if self._at.records.look(name).size is not None and self._has_size(name, size):
                return False
        self._push(name, reader)
        return True

    def _has_size(self, name: Hash, size: int) -> bool:
        """Whether the registry still has the blob: some delete what records refer to."""
        try:
            return self._at.repository.blob_size(name) == size
        except NotFoundError:
            return False

    def copy(
        self,
        name: Hash,
        reader: Reader,
        *,
        again: Callable[[], Reader] | None = None,  # noqa: ARG002  # what the registry may lose is in memory
        follow: Callable[[Counting], object] = lambda _: None,
    ) -> None:
        """As `BlobStore.copy`. The registry hashes it too. What breaks off leaves nothing that has a name."""
        self._push(name, reader, follow)

    def delete(self, name: Hash) -> None:
        with self._at.failing_as_backend():
            self._at.repository.delete_manifest(name)
            self._at.repository.delete_blob(name)
            self._at.records.change(name, lambda record: replace(record, size=None, published=0.0))

    def scan(self) -> Iterator[tuple[Hash, Entry]]:
        for record in self._at.each(self._at.records.all_names()):
            if record.size is not None:
                yield record.name, Entry(keys.blob(record.name), record.size, record.published)

    def _push(self, name: Hash, reader: Bytes, follow: Callable[[Counting], object] = lambda _: None) -> None:
        with self._at.failing_as_backend():
            size = self._at.repository.push(name, reader, mount_from=self._at.mount_from, follow=follow)
            if size is None:
                size = self._at.repository.blob_size(name)
            self._at.records.hold(name, size)


class _BlobReader(WrappingReader):
    """A blob on its way from the registry. What breaks is the tier's failure."""

    def __init__(self, raw: Reader, at: Connection) -> None:
        super().__init__(raw, raw.size)
        self._at = at

    def read(self, size: int = -1, /) -> bytes:
        with self._at.failing_as_backend():
            try:
                return self._raw.read(size)
            except DigestMismatchError as error:  # another size than before
                raise SourceError(error.message) from error
