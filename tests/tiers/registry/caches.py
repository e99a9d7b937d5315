"""Caches in a registry: the tier alone, or behind a folder; an image that is kept in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiers.contract import copy, fact_of

import layercache
from layercache.oci.digest import Digest
from layercache.registry.settings import RegistrySettings
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from pathlib import Path

    from servers.registry import Registry

    from layercache.cache import Cache
    from layercache.tiers.tier import Tier

CACHE = "team/cache"


def shipped(registry: Registry, folder: Path, *options: str) -> Cache:
    """A cache in a folder, in front of the registry."""
    far = f"oci://{registry.host}/{CACHE}{'?' if options else ''}{'&'.join(options)}"
    return layercache.open([f"file://{folder}", far])


def far_tier(host: str, *, settings: RegistrySettings | None = None, options: str = "") -> Tier:
    """In the registry at this host."""
    return open_tier(
        f"oci://{host}/{CACHE}{options}", nearest=False, registries=lambda: settings or impatient()
    )


def impatient(**more: object) -> RegistrySettings:
    return RegistrySettings(retries=2, **more)  # type: ignore[arg-type]  # fields of it


def keep_image(tier: Tier, image: object, key: str) -> None:
    """All of an image, as a copy of a cache brings it: blobs, then facts, then what refers to them."""
    from servers.images import Image, ImageIndex

    assert isinstance(image, Image | ImageIndex)
    for data in image.blobs.values():
        copy(tier, data)
    for _, document in image.documents.values():
        tier.blobs.put(Digest.of(document), document)
    for each in image.images if isinstance(image, ImageIndex) else [image]:
        for layer in each.layers:
            tier.facts.record(fact_of(layer))
    tier.images.tag(key, image.descriptor)
