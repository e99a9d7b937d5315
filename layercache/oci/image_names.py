"""The names of images that come out of layouts and archives, where a name may be a tag alone, or missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError
from layercache.oci.annotations import FULL_NAME, REF_NAME
from layercache.oci.reference import Reference

if TYPE_CHECKING:
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest

IMPORTED = ("localhost", "imported")
"""Registry and repository of images that have no full reference where they come from."""

_NO_TAG = re.compile(r"[^A-Za-z0-9_.-]")


def is_imported(reference: Reference) -> bool:
    """Whether the image has its name from here, so that no registry can be asked for it."""
    return (reference.registry, reference.repository) == IMPORTED


def unnamed(digest: Digest) -> Reference:
    """The reference of an image that has no name."""
    return Reference(*IMPORTED, digest=digest)


def listed_reference(entry: Descriptor) -> Reference:
    """The reference of an entry of an index.json: a full one as it is, other names below `IMPORTED`."""
    annotations = entry.annotations or {}
    name = annotations.get(REF_NAME, "")
    for each in (name, annotations.get(FULL_NAME, "")):
        if (reference := _in_full(each)) is not None:
            return reference
    if not name:
        return unnamed(entry.digest)
    tag = _NO_TAG.sub("_", name)[:128]
    return Reference(*IMPORTED, tag=f"_{tag[1:]}" if tag[0] in ".-" else tag)


def _in_full(name: str) -> Reference | None:
    """The reference that a name is, if nothing has to be filled in."""
    try:
        reference = Reference.parse(name)
    except InvalidNameError:
        return None
    return reference if str(reference) == name else None
