"""An OCI image layout as a source (image-spec, image-layout.md).

``oci:PATH[:REF][@DIGEST]`` is one in a folder, ``oci-archive:PATH[:REF][@DIGEST]`` one in a tar.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from layercache.errors import DigestMismatchError, NotFoundError, SourceError
from layercache.oci.annotations import FULL_NAME, REF_NAME
from layercache.oci.descriptor import (
    DOCUMENT_MAX,
    INDEX_SHARE,
    OCI_INDEX,
    Descriptor,
    Index,
    decode,
    index_of,
    media_type_of,
)
from layercache.oci.digest import Digest
from layercache.oci.documents import DOCUMENTS, check_document, described
from layercache.oci.image_names import listed_reference
from layercache.oci.offers import Offers
from layercache.oci.reference import Reference, canonical
from layercache.sources.file_section import PartReader
from layercache.sources.layout_files import INDEX, ArchiveFiles, FolderFiles
from layercache.sources.names import (
    ARCHIVE,
    LAYOUT,
    OCI_ARCHIVE,
    registry_hint,
    split_digest,
    split_path,
)
from layercache.statistics.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.sources.layout_files import LayoutFiles


class LayoutSource:
    """One image of a layout. Each call reads a folder as it is at that moment, and an archive as it was."""

    def __init__(
        self,
        files: LayoutFiles,
        ref: str = "",
        digest: Digest | None = None,
        *,
        max_document_size: int = DOCUMENT_MAX,
    ) -> None:
        self._files = files
        self._max_size = max_document_size
        self._ref = ref
        self._digest = digest
        self._chosen: Descriptor | None = None
        self._made = b""
        """An index of the entries that one name stands for, where it stands for several platforms."""

    @classmethod
    def parse(cls, text: str, *, max_document_size: int = DOCUMENT_MAX) -> Self:
        """``PATH[:REF][@DIGEST]``; for a ":" in the path see `split_path`. The digest overrides REF."""
        rest, digest = split_digest(text)
        path, ref = split_path(rest, os.path.isdir)
        _check_there(path, registry_hint(text))
        return cls(FolderFiles(path), ref, digest, max_document_size=max_document_size)

    @classmethod
    def parse_archive(cls, text: str, *, max_document_size: int = DOCUMENT_MAX) -> Self:
        """As `parse`, for a layout in a tar; ``-`` is stdin."""
        rest, digest = split_digest(text)
        path, ref = split_path(rest, os.path.exists)
        if os.path.isdir(path):
            raise SourceError(f"{path} is a folder", hint=f"an OCI layout in a folder is {LAYOUT}{path}")
        files = ArchiveFiles(path, f"{OCI_ARCHIVE}{path}")
        return cls(files, ref, digest, max_document_size=max_document_size)

    @property
    def name(self) -> str:
        ref = f":{self._ref}" if self._ref else ""
        return f"{self._files.name}{ref}{f'@{self._digest}' if self._digest else ''}"

    @property
    def place(self) -> Place:
        return Place("layout", self._files.name, self.name)

    def root(self, *, new: bool = False) -> Descriptor:  # noqa: ARG002  # both cost the same here
        self._chosen, root = self._choose()
        return root

    def references(self) -> list[Reference]:
        return [listed_reference(self._chosen)] if self._chosen else []

    def _choose(self) -> tuple[Descriptor, Descriptor]:
        """The entry that has the image's name, and the image's root, which may be an index of several."""
        entries = [entry for entry in self._index().manifests if entry.media_type in DOCUMENTS]
        if self._digest is not None:
            listed = next((entry for entry in entries if entry.digest == self._digest), None)
            root = listed or self._unlisted(self._digest)
            return root, root
        found = list({entry.digest: entry for entry in self._named(entries)}.values())
        if len(found) == 1:
            return found[0], found[0]
        there = ", ".join(_labels(entries)) or "no image at all"
        if not found:
            raise NotFoundError(f"{self.name} is not in the layout", hint=f"it holds {there}")
        if (index := self._platforms_of_one(found)) is not None:
            return found[0], index
        problem = "names several images" if self._ref else "holds several images"
        raise SourceError(f"{self.name} {problem}", hint=f"add one of :REF or @DIGEST: {there}")

    def _named(self, entries: Sequence[Descriptor]) -> Sequence[Descriptor]:
        """The entries that REF selects: all if there is none."""
        by_ref = [entry for entry in entries if not self._ref or _ref_of(entry) == self._ref]
        full = canonical(self._ref) if self._ref else ""
        return by_ref or [entry for entry in entries if full and canonical(_full_name_of(entry)) == full]

    def _platforms_of_one(self, found: Sequence[Descriptor]) -> Descriptor | None:
        """An index of entries of one name, if each is for platforms that no other is for."""
        if len({(_ref_of(entry), _full_name_of(entry)) for entry in found}) > 1:
            return None
        entries = Offers(self._read_document, self.document).alternatives(found)
        if not entries:
            return None
        self._made = index_of(entries)
        return Descriptor(media_type=OCI_INDEX, digest=Digest.of(self._made), size=len(self._made))

    def _read_document(self, descriptor: Descriptor) -> tuple[bytes, str]:
        data = self.document(descriptor)
        return data, media_type_of(data, descriptor.media_type, str(descriptor.digest))

    def document(self, descriptor: Descriptor) -> bytes:
        if self._made and descriptor.digest == Digest.of(self._made):
            return self._made
        path, what = _blob(descriptor.digest), f"the manifest {descriptor.digest} of {self.name}"
        data = self._files.read(path, self._max_size, what)
        check_document(descriptor.digest, data, self._files.place(path))
        return data

    def open_blob(self, descriptor: Descriptor, start: int = 0, end: int | None = None) -> PartReader:
        if not 0 <= start <= descriptor.size:
            raise ValueError(f"no offset {start} in {descriptor.size} bytes")
        path = _blob(descriptor.digest)
        fd, (begin, size) = self._files.open(path, f"{descriptor.digest} of {self.name}")
        place = self._files.place(path)
        if size != descriptor.size:
            os.close(fd)
            raise DigestMismatchError(f"{place} has {size} bytes instead of the {descriptor.size} stated")
        return PartReader(fd, begin + start, begin + (size if end is None else min(end, size)), place)

    def close(self) -> None:
        self._files.close()

    def _index(self) -> Index:
        data = self._files.read(INDEX, self._max_size * INDEX_SHARE, f"the index of {self.name}")
        return decode(data, Index, self._files.place(INDEX))

    def _unlisted(self, digest: Digest) -> Descriptor:
        """A manifest that index.json does not list itself, as one of a nested index."""
        data = self._files.read(_blob(digest), self._max_size, f"the manifest {digest} of {self.name}")
        return described(data, "", digest, self.name)


def _check_there(path: str, hint: str) -> None:
    if os.path.isfile(path):
        raise SourceError(
            f"{path} is a file, and an OCI layout is a folder",
            hint=f"as an archive it is {OCI_ARCHIVE}{path}; what docker save wrote is {ARCHIVE}{path}",
        )
    if not os.path.isdir(path):
        looked_in = [os.path.abspath(path)]
        raise NotFoundError(f"{LAYOUT}{path} is not there", looked_in=looked_in, hint=hint)
    if not os.path.isfile(os.path.join(path, INDEX)):
        raise SourceError(f"{path} is not an OCI layout", hint=f"it has no {INDEX}")


def _blob(digest: Digest) -> str:
    # A digest is checked when it is made: it cannot lead out of the folder.
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _ref_of(entry: Descriptor) -> str:
    return (entry.annotations or {}).get(REF_NAME, "")


def _full_name_of(entry: Descriptor) -> str:
    return (entry.annotations or {}).get(FULL_NAME, "")


def _labels(entries: Sequence[Descriptor]) -> Iterable[str]:
    """How to select each entry: by its name, with the digest if several have that name."""
    for name_of in (_ref_of, _full_name_of):
        names = [name_of(entry) for entry in entries]
        if len(set(names)) == len(names) and all(names):
            yield from names
            return
    refs = [_ref_of(entry) for entry in entries]
    for entry, ref in zip(entries, refs, strict=True):
        platform = f" ({entry.platform})" if entry.platform else ""
        yield ref if ref and refs.count(ref) == 1 else f"{ref}@{entry.digest}{platform}"
