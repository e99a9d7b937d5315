"""The quarantine: objects that were found wrong, kept for inspection where no reader finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend.capabilities import Movable
from layercache.errors import BackendError
from layercache.streams.hashing import chunks, hash_chunks, hash_of
from layercache.streams.readers import check_whole
from layercache.tiers import keys

if TYPE_CHECKING:
    from layercache.tiers.backend.tier import BackendTier


def put_aside(tier: BackendTier, key: str) -> bool:
    """Move an object of a tier to its quarantine, under its own key; False if the tier is read-only.

    If the store cannot move it, it is copied, and deleted only once the whole copy was read back. An object
    already in quarantine under this key is replaced. Raises `NotFoundError`, `BackendError`.
    """
    if tier.policy.readonly:
        return False
    if (name := keys.blob_name(key)) is not None:
        tier.derived.delete(name)  # it was computed from wrong bytes
    backend, aside = tier.backend, keys.quarantine(key)
    if isinstance(backend, Movable):
        backend.move(key, aside)
        return True
    with backend.open(key) as reader, backend.create(aside) as sink:
        found, size = hash_chunks(chunks(reader), "sha256", sink.write)
        check_whole(reader.size, size)
        sink.commit()
    with backend.open(aside) as copy:
        if copy.size != size or hash_of(copy, found.algorithm) != found:
            raise BackendError(f"{backend.url}: {aside} is not what was written there; {key} stays")
    backend.delete(key)
    return True
