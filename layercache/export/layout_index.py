"""The entry of an image in the index.json of a layout, and the names that other tools find in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import msgspec

from layercache.errors import InvalidNameError
from layercache.oci.annotations import FULL_NAME, REF_NAME
from layercache.oci.descriptor import OCI_INDEX
from layercache.oci.reference import Reference

if TYPE_CHECKING:
    from layercache.oci.descriptor import Descriptor

LAYOUT_MARKER = b'{"imageLayoutVersion":"1.0.0"}'
"""The file oci-layout."""

_REF = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@+]|--|/)[A-Za-z0-9]+)*")
"""image-spec annotations.md, "org.opencontainers.image.ref.name"."""


@dataclass(frozen=True, slots=True)
class EntryNames:
    """``ref``: the name in the layout, "" for none; ``full``: the reference for containerd and podman."""

    ref: str
    full: str

    @classmethod
    def chosen(cls, ref: str, image: Reference) -> Self:
        """The names of an image for which the user chose ``ref``, or "" for its own tag.

        As BuildKit writes them: a ``ref`` that is a tag is one of the image's repository. Raises
        `InvalidNameError`.
        """
        if ref and not _REF.fullmatch(ref):
            raise InvalidNameError(f"not a name for an image in a layout: {ref!r}")
        if not ref:
            full = str(Reference(image.registry, image.repository, image.tag)) if image.tag else ""
            return cls(image.tag or "", full)
        try:
            is_tag = not re.search("[/:@]", ref)
            named = Reference(image.registry, image.repository, ref) if is_tag else Reference.parse(ref)
        except InvalidNameError:
            return cls(ref, "")
        return cls(ref, str(named))

    def entry(self, root: Descriptor) -> dict[str, Any]:
        """The descriptor of the image's manifest or index, with the names."""
        entry: dict[str, Any] = {"mediaType": root.media_type, "digest": root.digest, "size": root.size}
        names = {FULL_NAME: self.full, REF_NAME: self.ref}
        if found := {key: name for key, name in names.items() if name}:
            entry["annotations"] = found
        return entry


def empty_index() -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def index_of_one(root: Descriptor, names: EntryNames) -> bytes:
    """The index.json of a layout with one image."""
    return msgspec.json.encode(empty_index() | {"manifests": [names.entry(root)]}, enc_hook=str)
