"""Takes uploaded blobs into the cache, and notes which repository has them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError
from layercache.streams.hashing import chunks, hash_chunks
from layercache.streams.readers import check_hash

if TYPE_CHECKING:
    from typing import BinaryIO

    from layercache.cache import Cache
    from layercache.images.hosted import HostedImages
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest
    from layercache.serve.push.links import Links


class BlobIntake:
    """Stores blobs out of files, in every tier. Thread-safe."""

    def __init__(self, cache: Cache, images: HostedImages, links: Links) -> None:
        self._cache = cache
        self._images = images
        self._links = links

    def store(self, path: str, repository: str, digest: Digest) -> None:
        """Store a file's bytes as the blob of this digest, and give the repository the blob.

        Raises `DigestMismatchError` where the file has another digest, `BackendError` and `ConfigError` where
        no tier takes it.
        """
        size = os.stat(path).st_size
        self._fill(path, digest, size)
        self._images.settle(digest)
        self._links.add(repository, digest, size)

    def link(self, repository: str, blob: Descriptor) -> bool:
        """Give a repository a blob that another one has; return False if the cache does not have it now."""
        if blob.digest not in self._cache:
            return False
        self._links.add(repository, blob.digest, blob.size)
        return True

    def _fill(self, path: str, digest: Digest, size: int) -> None:
        """Let the cache read the blob from its file.

        The bytes are hashed even if the cache has the blob: a client that only knows the digest of another
        repository's blob gets no link to it. Where another client is sending wrong bytes of the same name,
        this one may have joined its transfer: right bytes are tried once more.
        """
        upload = _Upload(path)
        for last in (False, True):
            try:
                self._cache.layer(digest, size=size, fetch=upload.open).fill("compressed")
            except DigestMismatchError:
                upload.check(digest)
                if last:
                    raise
            else:
                if not upload.was_read:
                    upload.check(digest)
                return


class _Upload:
    """The file of an upload, as the source of the blob that it should be."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.was_read = False

    def open(self, _digest: Digest) -> BinaryIO:
        return _Watched(self._path, self)

    def check(self, digest: Digest) -> None:
        """Raise `DigestMismatchError` unless the file has this digest."""
        with open(self._path, "rb", buffering=0) as file:
            check_hash(digest, None, *hash_chunks(chunks(file), digest.algorithm))


class _Watched(io.FileIO):
    """Notes that the file was read to its end."""

    def __init__(self, path: str, upload: _Upload) -> None:
        super().__init__(path)
        self._upload = upload

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            self._upload.was_read = True
        return data
