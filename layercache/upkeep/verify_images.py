"""Looking at an image: its descriptor and its documents, as far as they are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.errors import FormatError, NotFoundError
from layercache.oci.descriptor import (
    INDEXES,
    MANIFESTS,
    Descriptor,
    Index,
    Manifest,
    decode,
    image_config,
    media_type_of,
)
from layercache.streams.readers import read_bounded
from layercache.tiers import keys
from layercache.tiers.documents import read_whole

if TYPE_CHECKING:
    from layercache.oci.digest import Digest
    from layercache.tiers.backend_tier import BackendTier


def why_wrong(tier: BackendTier, key: str) -> str:
    """What is wrong with the image that a reference's key names; empty where nothing is.

    Documents are taken to hash right: that is looked at elsewhere. One that is not here is no fault. Raises
    `NotFoundError` where the key itself is gone, `BackendError`.
    """
    try:
        with tier.backend.open(key) as reader:
            data = read_bounded(reader, SMALL_OBJECT, "it")
        _look(tier, decode(data, Descriptor, "it"))
    except FormatError as error:
        return error.message
    return ""


def _look(tier: BackendTier, descriptor: Descriptor) -> None:
    seen: set[Digest] = set()
    todo = [descriptor]
    while todo:  # no recursion: indexes may be nested as deep as somebody likes
        document = todo.pop()
        name = str(document.digest)
        if (data := _document(tier, document)) is None:
            continue
        kind = media_type_of(data, document.media_type, name)
        if kind in INDEXES and document.digest not in seen:
            seen.add(document.digest)
            todo += decode(data, Index, name).documents
        elif kind in MANIFESTS:
            config = decode(data, Manifest, name).config
            raw = _document(tier, config)
            if raw is not None:
                image_config(kind, config, raw)


def _document(tier: BackendTier, descriptor: Descriptor) -> bytes | None:
    try:
        with tier.backend.open(keys.blob(descriptor.digest)) as reader:
            if reader.size != descriptor.size:
                raise FormatError(
                    f"{descriptor.digest} has {reader.size} bytes, and {descriptor.size} are stated"
                )
            return read_whole(reader, descriptor.digest, tier.policy.max_document_size)
    except NotFoundError:
        return None
