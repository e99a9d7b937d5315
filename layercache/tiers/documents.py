"""An image's documents, which are small blobs: manifests, indexes and configs, whole and checked by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import BackendError, DigestMismatchError, FormatError, NotFoundError
from layercache.oci.documents import check_document, check_limit
from layercache.streams.readers import check_size, read_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from layercache.backend import Reader
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest
    from layercache.tiers.tier import Tier


def read_document(tier: Tier, name: Digest, *, used: bool = False) -> bytes:
    """Read it from one tier. ``used``: this counts as a use of it.

    Raises `NotFoundError`, `DigestMismatchError`, and `FormatError` if it is too big.
    """
    with tier.blobs.open(name) if used else tier.blobs.inspect(name) as reader:
        data = read_whole(reader, name, tier.policy.max_document_size)
    check_document(name, data, tier.name)
    return data


def find_document(
    tiers: Iterable[Tier],
    name: Digest,
    wrong: Callable[[Tier, DigestMismatchError], object] = lambda _tier, _error: None,
    lacking: Callable[[Tier], object] = lambda _tier: None,
) -> bytes | None:
    """Read it from the first tier that has it; None if none has.

    Of the tiers before that one, ``wrong`` is called with those that have other bytes, ``lacking`` with those
    that do not have it.

    What is too big to be read is taken nowhere, and is not called wrong: a name may be that of a layer.
    Raises `FormatError` where that is all there is.
    """
    too_big: FormatError | None = None
    for tier in tiers:
        try:
            return read_document(tier, name, used=True)
        except NotFoundError:
            lacking(tier)
        except BackendError as error:  # it had been opened
            tier.mark_failed(error)
        except FormatError as error:
            too_big = error
        except DigestMismatchError as error:
            wrong(tier, error)
    if too_big:
        raise too_big
    return None


def read_whole(reader: Reader, name: Digest, limit: int) -> bytes:
    """All of a reader. Raises `FormatError` for more than ``limit`` bytes."""
    check_limit(name, reader.size or 0, limit)
    data = read_full(reader, limit + 1)
    check_limit(name, len(data), limit)
    return data


def check_stated(descriptor: Descriptor, data: bytes) -> None:
    """Raise `StatedSizeError` where a document that is right has another size than a descriptor states."""
    check_size(descriptor.digest, descriptor.size, len(data))
