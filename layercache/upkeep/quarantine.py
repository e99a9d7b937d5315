"""The folder for objects that were found wrong: out of the way, and there to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache import keys
from layercache.streams import CHUNK

if TYPE_CHECKING:
    from layercache.backend_tier import BackendTier


def put_aside(tier: BackendTier, key: str) -> bool:
    """Move an object of a tier into its quarantine, under its own key; False where nothing may be written.

    What was put aside under this key before is replaced. Raises `NotFoundError`, `BackendError`.
    """
    if tier.policy.readonly:
        return False
    backend = tier.backend
    with backend.open(key) as reader, backend.create(keys.quarantine(key)) as sink:
        while chunk := reader.read(CHUNK):
            sink.write(chunk)
        sink.commit()
    backend.delete(key)
    return True
