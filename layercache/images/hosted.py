"""Images whose registry is this cache: what was pushed to it, and stands nowhere else.

No source is asked for them. Their names have the registry ``localhost``, as images have that podman built.
They are recorded as imports are, so that such a tag never counts as the word of a registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.resolver.absence import not_found
from layercache.tiers import keys
from layercache.tiers.tag_origin import IMPORTED_FROM, marked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layercache.images.writer import ImageWriter
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.tier_writer import TierWriter
    from layercache.tiers.tier import Tier

HOSTED = "localhost"
"""The registry in the names of these images."""


class HostedImages:
    """Reads, writes and removes them. Thread-safe: it has no state that changes.

    Unlike what is pulled, they are in every tier that can be written to once `put` returns. The farthest of
    those decides what a name stands for: it is the one that other machines write to.
    """

    def __init__(self, tiers: Sequence[Tier], keeper: TierWriter, writer: ImageWriter) -> None:
        self._tiers = tiers
        self._keeper = keeper
        self._writer = writer

    def get(self, key: str) -> Descriptor:
        """What a name stands for. Raises `NotFoundError`, and `BackendError` where no tier could be asked."""
        for tier in self._farthest_first():
            try:
                return tier.images.get(key)
            except NotFoundError:
                if tier.failure is None:
                    break
        raise not_found(self._tiers, f"{keys.image_name(key)} was not pushed", "")

    def within(self, folder: str) -> Iterator[str]:
        """The keys in a folder, in any order. Raises `BackendError` if no tier could be asked."""
        for tier in self._farthest_first():
            if tier.failure is None:
                return tier.images.listed(folder)
        raise not_found(self._tiers, f"nothing was pushed to {folder}", "")

    def document(self, digest: Digest) -> bytes:
        """A manifest or an index, byte for byte. Raises `NotFoundError`, `BackendError`."""
        data = self._writer.find_document(digest)
        if data is None:
            raise not_found(
                self._tiers, f"{digest} is not cached", "it was evicted, or removed: push it again"
            )
        return data

    def put(self, names: Iterable[str], image: Descriptor, data: bytes) -> None:
        """Keep a document, then let these keys stand for it. Raises `BackendError` where no tier took it."""
        image = marked(image, IMPORTED_FROM, "push")
        names = tuple(names)
        kept = False
        for tier in self._keeper.writable():
            tier.blobs.put(image.digest, data)
            if tier.write_failure is None and tier.blobs.has(image.digest):
                kept = True
                for key in names:
                    tier.images.tag(key, image)
        self._keeper.changed()
        if not kept:
            raise self._keeper.kept_nowhere(size=len(data))

    def forget(self, names: Iterable[str]) -> None:
        """Let these keys stand for nothing. Raises `BackendError` where a tier may still have them."""
        names = tuple(names)
        writable = self._keeper.writable()
        for tier in writable:
            for key in names:
                tier.images.forget(key)
        self._keeper.changed()
        for tier in writable:
            if (failure := tier.write_failure) is not None:
                raise failure

    def settle(self, name: Hash) -> None:
        """Wait until a blob that was stored is in the far tiers, too, or could not be sent."""
        self._keeper.background.wait_for(name)

    def _farthest_first(self) -> Iterator[Tier]:
        writable = self._keeper.writable()
        return reversed(writable or list(self._tiers))
