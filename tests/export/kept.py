"""Images that are in a cache as if they had been pulled, and damage to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.digest import Digest
from layercache.tiers import keys

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Image, ImageIndex

    from layercache.cache import Cache
    from layercache.oci.digest import Hash


def keep(cache: Cache, image: Image | ImageIndex, name: str = "app:1") -> str:
    """Have it in the cache as if it had been pulled by this name, with all its platforms."""
    tier = cache.tiers[0]
    for data in image.blobs.values():
        tier.blobs.put(Digest.of(data), data)
    for digest, (_, document) in image.documents.items():
        tier.blobs.put(digest, document)
    tier.images.tag(keys.image_tag("docker.io", f"library/{name.partition(':')[0]}", "1"), image.descriptor)
    return name


def damage(cache: Cache, folder: Path, digest: Hash) -> None:
    """One bit of a blob in the nearest tier, whose size stays."""
    path = folder / "cache" / "blobs" / digest.algorithm / digest.hex
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
