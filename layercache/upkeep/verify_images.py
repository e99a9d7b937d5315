"""Verifies an image: its reference, and its documents as far as the tier has them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.errors import FormatError, NotFoundError
from layercache.oci.descriptor import Descriptor, Manifest, decode, image_config
from layercache.oci.image_tree import walk
from layercache.streams.readers import read_bounded
from layercache.tiers import keys
from layercache.tiers.documents import read_whole

if TYPE_CHECKING:
    from layercache.errors import IntegrityError
    from layercache.tiers.backend.tier import BackendTier


def why_wrong(tier: BackendTier, key: str) -> str:
    """Return what is wrong with the image of this reference key; empty if nothing is.

    The hashes of documents are checked elsewhere. A document that is not here is not a problem. Raises
    `NotFoundError` if the key itself is gone, `BackendError`.
    """
    try:
        with tier.backend.open(key) as reader:
            data = read_bounded(reader, SMALL_OBJECT, "the reference")
        _check_tree(tier, decode(data, Descriptor, "the reference"))
    except FormatError as error:
        return error.message
    return ""


def _check_tree(tier: BackendTier, root: Descriptor) -> None:
    def read(document: Descriptor) -> bytes:
        return _read(tier, document)

    def failed(_: Descriptor, error: NotFoundError | IntegrityError) -> None:
        if not isinstance(error, NotFoundError):
            raise error

    for node in walk(read, root, failed):
        if isinstance(node.parsed, Manifest):
            config = node.parsed.config
            with suppress(NotFoundError):
                image_config(node.kind, config, _read(tier, config))


def _read(tier: BackendTier, descriptor: Descriptor) -> bytes:
    """A document of the stated size. Raises `NotFoundError`, `FormatError`."""
    with tier.backend.open(keys.blob(descriptor.digest)) as reader:
        if reader.size != descriptor.size:
            raise FormatError(
                f"{descriptor.digest} has {reader.size} bytes, but {descriptor.size} are stated"
            )
        return read_whole(reader, descriptor.digest, tier.policy.max_document_size)
