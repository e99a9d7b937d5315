"""Checks of manifests and indexes: size, media type and hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError, SourceError
from layercache.oci.descriptor import DOCKER_SCHEMA_1, INDEXES, MANIFESTS, Descriptor, media_type_of
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from layercache.oci.digest import Hash

DOCUMENTS = INDEXES | MANIFESTS


def described(data: bytes, stated: str, digest: Digest | None, where: str) -> Descriptor:
    """The descriptor of a document that was served as media type ``stated``, perhaps for a given digest.

    Raises `SourceError` for Docker's schema 1, `FormatError` for an invalid document, `DigestMismatchError`.
    """
    media_type = media_type_of(data, stated, where)
    refuse_schema_1(media_type, where)
    descriptor = Descriptor(media_type=media_type, digest=digest or Digest.of(data), size=len(data))
    check_document(descriptor.digest, data, where)
    return descriptor


def check_document(digest: Hash, data: bytes, where: str) -> None:
    """Raise `DigestMismatchError` where the bytes that ``where`` gave do not have this hash.

    Their size is not checked here: the descriptor that states one is not always right.
    """
    found = digest.of(data, digest.algorithm)
    if found != digest:
        raise DigestMismatchError(f"{where} gave {len(data)} bytes with the hash {found} for {digest}")


def check_limit(what: str, size: int, limit: int) -> None:
    """Raise `FormatError` for a document of more than ``limit`` bytes: it would have to be held in memory."""
    if size > limit:
        raise FormatError(
            f"{what} is a document of {size} bytes; at most {limit} are read",
            hint="if it should be so big, configure max_document_size",
        )


def refuse_schema_1(media_type: str, where: str) -> None:
    if media_type in DOCKER_SCHEMA_1:
        raise SourceError(
            f"{where} is in Docker's schema 1, which is not supported",
            hint="push the image again with a current tool, as schema 2 or OCI",
        )
