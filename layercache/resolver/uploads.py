"""Uploads that were broken off are noted in the nearest tier, and sent the next time."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from layercache.backend import write_whole
from layercache.backend.capabilities import Expendable
from layercache.errors import BackendError, LayercacheError
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.resolver.tier_writer import TierWriter
    from layercache.resolver.upload_queue import UploadProgress
    from layercache.tiers.tier import Tier


class Uploads:
    """What is on its way to far tiers, and what an interrupt has left. Thread-safe.

    A note is an empty object in the nearest tier, of which only the name matters: the far tier's, and the
    object's. It is written when uploads are given up, and removed when its object was sent. It says nothing
    about bytes: what is sent is what the nearest tier has then, hashed on the way.
    """

    def __init__(self, keeper: TierWriter, tiers: Sequence[Tier], asked: Sequence[Tier]) -> None:
        self._keeper = keeper
        self._asked = asked
        nearest = tiers[0]
        noted = isinstance(nearest, BackendTier) and nearest.policy.trusted and not nearest.policy.readonly
        self._backend = nearest.backend if noted and isinstance(nearest, BackendTier) else None

    def progress(self) -> list[UploadProgress]:
        """What was sent to each far tier since the cache was opened, and what is left."""
        return self._keeper.background.progress()

    def resume(self) -> int:
        """Send in the background what earlier runs have left; the number of objects."""
        found = 0
        for tier in self._asked[1:] if self._backend else ():
            if tier.remote and not tier.policy.readonly:
                # First blobs, then what is said of them, then images: the order of the names.
                for key in sorted(self._noted(tier), key=lambda key: not key.startswith(keys.BLOBS)):
                    self._keeper.far.resume(tier, key, partial(self._forget, tier, key))
                    found += 1
        return found

    def give_up(self) -> None:
        """Break off all uploads, and note what is not sent."""
        unsent, backend = self._keeper.background.give_up(), self._backend
        if backend is not None:
            create = backend.create_expendable if isinstance(backend, Expendable) else backend.create
            for upload in unsent:
                with suppress(LayercacheError):  # a full disk, say: `copy` still finds it
                    write_whole(create(keys.unsent(upload.where, upload.key)), b"")

    def _noted(self, tier: Tier) -> list[str]:
        assert self._backend is not None
        folder = keys.unsent(tier.name, "")
        try:
            return [entry.key.removeprefix(folder) for entry in self._backend.scan(folder)]
        except BackendError:
            return []

    def _forget(self, tier: Tier, key: str) -> None:
        if self._backend is not None:
            with suppress(BackendError):
                self._backend.delete(keys.unsent(tier.name, key))
