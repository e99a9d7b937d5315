"""Writes the documents and tags of images into tiers, and brings nearer what a far tier has of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.oci.forms import COMPRESSED
from layercache.tiers import keys
from layercache.tiers.documents import find_document
from layercache.tiers.tag_origin import import_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from layercache.errors import DigestMismatchError
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest, Hash
    from layercache.resolver.tier_writer import TierWriter
    from layercache.tiers.tier import Tier


class ImageWriter:
    """Writes into the nearest tier now, and into remote ones behind it in the background.

    Thread-safe: it has no state that changes.
    """

    def __init__(self, tiers: Sequence[Tier], keeper: TierWriter) -> None:
        self._tiers = tiers
        self._keeper = keeper

    def find_document(self, name: Digest) -> bytes | None:
        """Read a manifest, an index or a config from the nearest tier that has it; None if none has.

        Nearer tiers that lack it, or have other bytes, get it. Raises `FormatError` if it is too big.
        """
        lacking: list[Tier] = []

        def wrong(tier: Tier, error: DigestMismatchError) -> None:
            self._keeper.pass_over(tier, name, COMPRESSED, error.message)
            lacking.append(tier)

        data = find_document(self._tiers, name, wrong, lacking.append)
        if data is not None and lacking:
            self.keep_document(name, data, lacking)
        return data

    def keep_document(self, name: Hash, data: bytes, tiers: Collection[Tier] | None = None) -> None:
        """Keep a manifest, an index or a config in every tier that can be written to, or in these of them."""
        upload = (keys.blob(name), len(data))
        self._write(lambda tier: tier.blobs.put(name, data), name, upload, tiers)

    def tag(self, key: str, descriptor: Descriptor, *, refresh: bool = False) -> None:
        """Keep what a registry says that a reference names. If the nearest tier knows it, so do the others.

        ``refresh``: there it is written again anyway, so that its time shows when it was checked.
        """

        def write(tier: Tier) -> None:
            if tier.remote:
                tier.images.tag_once(key, descriptor, refresh=refresh)
            else:
                tier.images.tag(key, descriptor)

        nearest = next(iter(self._keeper.writable()), None)
        if nearest is not None and nearest.images.names(key, descriptor):
            if refresh:
                nearest.images.tag(key, descriptor)
            return
        self._write(write, descriptor.digest, (key, 0))

    def import_tag(self, key: str, image: Descriptor) -> str:
        """Let a tag name an image of a layout or an archive: see `tag_origin.import_tag`.

        Returns the key under which the nearest tier has it. If that had it before, so do the others.
        """
        recorded = key
        for number, tier in enumerate(self._keeper.writable()):
            if number and tier.remote:
                self._keeper.far.soon(tier, key, partial(import_tag, tier, key, image), image.digest)
                continue
            there, is_new = import_tag(tier, key, image)
            if not number:
                recorded = there
                if not is_new:
                    break
            self._keeper.changed()
        return recorded

    def tag_nearer(self, key: str, descriptor: Descriptor, tiers: Collection[Tier]) -> None:
        """Keep what a reference names in those of these tiers that can be written to."""
        self._write(lambda tier: tier.images.tag(key, descriptor), descriptor.digest, (key, 0), tiers)

    def _write(
        self,
        write: Callable[[Tier], object],
        about: Hash,
        upload: tuple[str, int],
        among: Collection[Tier] | None = None,
    ) -> None:
        """Write into every tier that can be written to, or into those ``among`` these.

        ``upload``: the object's key and its size in bytes.
        """
        key, size = upload
        for number, tier in enumerate(self._keeper.writable()):
            if among is not None and tier not in among:
                continue
            if number and tier.remote:
                self._keeper.far.soon(tier, key, partial(write, tier), about, size=size)
            else:
                write(tier)
                self._keeper.changed()
