"""Manifests as they are pushed: read strictly, with what they refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layercache.errors import FormatError
from layercache.oci.descriptor import (
    INDEXES,
    MANIFESTS,
    Descriptor,
    Index,
    Manifest,
    decode,
    decode_object,
    is_foreign,
    media_type_of,
    without_nulls,
)
from layercache.oci.referrers import referrer
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.oci.digest import Digest
    from layercache.oci.referrers import Listed


class Pushed(Value, frozen=True):
    """A manifest or an index. ``image``: its own descriptor.

    ``blobs`` and ``documents``: what must be in its repository, too. ``subject``: the digest of what it is
    about, if anything; ``listed``: how it is listed there.
    """

    image: Descriptor
    blobs: tuple[Descriptor, ...]
    documents: tuple[Descriptor, ...]
    subject: Digest | None
    listed: Listed


def read(data: bytes, digest: Digest, stated: str) -> Pushed:
    """Read a document of this digest. ``stated``: its media type as the client has it, or as it was stored.

    Raises `FormatError` for what is neither a manifest nor an index, and for what could be read as both
    (CVE-2021-41190).
    """
    what = f"the manifest {digest.short}"
    kind = media_type_of(data, stated, what)
    fields = without_nulls(decode_object(data, what))
    image = Descriptor(media_type=kind, digest=digest, size=len(data))
    if kind in INDEXES:
        _refuse(fields, what, "an index", "config", "layers")
        index = decode(data, Index, what)
        blobs, documents = index.blobs, index.documents
    elif kind in MANIFESTS:
        _refuse(fields, what, "a manifest", "manifests")
        manifest = decode(data, Manifest, what)
        blobs = [blob for blob in (manifest.config, *manifest.layers) if not is_foreign(blob.media_type)]
        documents = []
    else:
        raise FormatError(f"{what} is of the type {kind!r}: expected one of {', '.join(INDEXES | MANIFESTS)}")
    found = referrer(image, data)
    if found is None and fields.get("subject") is not None:
        raise FormatError(f"{what} has a subject that is not a descriptor")
    return Pushed(image, tuple(blobs), tuple(documents), *(found or (None, {})))


def _refuse(fields: dict[str, Any], what: str, kind: str, *names: str) -> None:
    if found := [name for name in names if name in fields]:
        raise FormatError(f"{what} is {kind}, but has the field {found[0]!r}")
