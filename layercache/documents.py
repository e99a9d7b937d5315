"""An image's documents, which are small blobs: manifests, indexes and configs, whole and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, FormatError, NotFoundError
from layercache.streams import check_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from layercache.descriptor import Descriptor
    from layercache.tier import Tier

MAX_DOCUMENT = 32 << 20
"""Bytes beyond which one is refused: they are held in memory."""


def read_document(tier: Tier, descriptor: Descriptor) -> bytes:
    """Out of one tier. Raises `NotFoundError`, `DigestMismatchError`; `FormatError` where it is too big."""
    _check_size(descriptor)
    with tier.open_blob(descriptor.digest) as reader:
        data = reader.read(descriptor.size + 1)
    check_document(descriptor, data)
    return data


def find_document(
    tiers: Iterable[Tier],
    descriptor: Descriptor,
    wrong: Callable[[Tier, DigestMismatchError], object] = lambda _tier, _error: None,
) -> bytes | None:
    """Out of the first tier that has it, else None. ``wrong`` hears of those that have other bytes."""
    _check_size(descriptor)
    for tier in tiers:
        try:
            return read_document(tier, descriptor)
        except NotFoundError:
            continue
        except DigestMismatchError as error:
            wrong(tier, error)
    return None


def check_document(descriptor: Descriptor, data: bytes) -> None:
    """Raise `DigestMismatchError` for other bytes than the descriptor names."""
    name = descriptor.digest
    check_hash(name, descriptor.size, name.of(data, name.algorithm), len(data))


def _check_size(descriptor: Descriptor) -> None:
    """Raise `FormatError` for more than is held in memory."""
    if descriptor.size > MAX_DOCUMENT:
        raise FormatError(
            f"{descriptor.digest} is a document of {descriptor.size} bytes; at most {MAX_DOCUMENT} are read"
        )
