"""An OCI image layout on disk as a source: ``oci:PATH[:REF][@DIGEST]`` (image-spec, image-layout.md)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from layercache.descriptor import (
    DOCUMENT_MAX,
    INDEX_SHARE,
    Descriptor,
    Index,
    decode,
)
from layercache.errors import DigestMismatchError, NotFoundError, SourceError
from layercache.sources.document import DOCUMENTS, check_document, described
from layercache.sources.names import LAYOUT, split_digest, split_path
from layercache.sources.part import PartReader, open_file, read_file

if TYPE_CHECKING:
    from layercache.digest import Digest

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names an entry of index.json (image-spec annotations.md)."""


class LayoutSource:
    """One image of a layout. The folder is read as it is when it is asked."""

    def __init__(
        self,
        path: str,
        ref: str = "",
        digest: Digest | None = None,
        *,
        max_document_size: int = DOCUMENT_MAX,
    ) -> None:
        self._path = path
        self._max_size = max_document_size
        self._ref = ref
        self._digest = digest

    @classmethod
    def parse(cls, text: str, *, max_document_size: int = DOCUMENT_MAX) -> Self:
        """``PATH[:REF][@DIGEST]``; for a ":" in the path see `split_path`. The digest rules over REF."""
        text, digest = split_digest(text)
        path, ref = split_path(text, os.path.isdir)
        source = cls(path, ref, digest, max_document_size=max_document_size)
        source._check_there()
        return source

    @property
    def name(self) -> str:
        ref = f":{self._ref}" if self._ref else ""
        return f"{LAYOUT}{self._path}{ref}{f'@{self._digest}' if self._digest else ''}"

    def root(self, *, new: bool = False) -> Descriptor:  # noqa: ARG002  # both cost the same here
        entries = [entry for entry in self._index().manifests if entry.media_type in DOCUMENTS]
        if self._digest is not None:
            listed = next((entry for entry in entries if entry.digest == self._digest), None)
            return listed or self._unlisted(self._digest)
        found = [entry for entry in entries if not self._ref or _ref_of(entry) == self._ref]
        if len({entry.digest for entry in found}) == 1:
            return found[0]
        there = ", ".join(_ref_of(entry) or f"@{entry.digest}" for entry in entries) or "no image at all"
        if not found:
            raise NotFoundError(f"{self.name} is not in the layout", hint=f"it holds {there}")
        problem = "names several images" if self._ref else "holds several images"
        raise SourceError(f"{self.name} {problem}", hint=f"add one of :REF or @DIGEST: {there}")

    def document(self, descriptor: Descriptor) -> bytes:
        path = self._blob(descriptor.digest)
        data = read_file(path, self._max_size, f"the manifest {descriptor.digest} of {self.name}")
        check_document(data, descriptor, path)
        return data

    def open_blob(self, descriptor: Descriptor, start: int = 0) -> PartReader:
        if not 0 <= start <= descriptor.size:
            raise ValueError(f"no offset {start} in {descriptor.size} bytes")
        path = self._blob(descriptor.digest)
        fd, size = open_file(path, f"{descriptor.digest} of {self.name}")
        if size != descriptor.size:
            os.close(fd)
            raise DigestMismatchError(f"{path} has {size} bytes instead of the {descriptor.size} stated")
        return PartReader(fd, start, size, path)

    def close(self) -> None:
        pass

    def _check_there(self) -> None:
        if not os.path.isdir(self._path):
            raise NotFoundError(f"{LAYOUT}{self._path} is not there", looked_in=[os.path.abspath(self._path)])
        if not os.path.isfile(os.path.join(self._path, "index.json")):
            raise SourceError(f"{self._path} is no OCI layout", hint="it has no index.json")

    def _index(self) -> Index:
        path = os.path.join(self._path, "index.json")
        return decode(read_file(path, self._max_size * INDEX_SHARE, f"the index of {self.name}"), Index, path)

    def _unlisted(self, digest: Digest) -> Descriptor:
        """A manifest that index.json does not list itself, as one of a nested index."""
        data = read_file(self._blob(digest), self._max_size, f"the manifest {digest} of {self.name}")
        return described(data, "", digest, self.name)

    def _blob(self, digest: Digest) -> str:
        # A digest is checked when it is made: it cannot lead out of the folder.
        return os.path.join(self._path, "blobs", digest.algorithm, digest.hex)


def _ref_of(entry: Descriptor) -> str:
    return (entry.annotations or {}).get(REF_NAME, "")
