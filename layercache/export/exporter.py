"""Exports an image: parses the target, collects the contents, writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.export.contents import Collector
from layercache.oci.descriptor import INDEXES, Manifest, decode
from layercache.oci.platforms import parse_platform
from layercache.sources.names import registry_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.export.targets import Targets
    from layercache.images.tags import Tags
    from layercache.oci.digest import Digest
    from layercache.resolver.resolver import Resolver
    from layercache.tiers.tier import Tier

ALL = "all"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did. ``digest``: of the manifest or index; ``image_id``: of the config, if there is one.

    ``blobs`` and ``bytes`` count what was written, without what the target already had. ``foreign`` layers
    were left out.
    """

    image: str
    target: str
    digest: Digest
    image_id: Digest | None
    layers: int
    blobs: int
    bytes: int
    foreign: int


class Exporter:
    """Exports images from tiers to targets."""

    def __init__(self, tiers: Sequence[Tier], resolver: Resolver, tags: Tags, targets: Targets) -> None:
        self._collector = Collector(tiers, resolver, tags)
        self._targets = targets

    def export(
        self, name: str, target: str, platform: str | None, progress: Callable[[int, int], object]
    ) -> Exported:
        """As `Cache.export`."""
        reference = registry_reference(name)
        if reference is None:
            raise ConfigError(
                f"{name} is not an image in the cache", hint="name it as layercache images lists it"
            )
        writer = self._targets.parse(target, reference)
        whole = platform == ALL
        if whole and writer.one_platform:
            raise ConfigError(f"{target} takes one platform", hint="name it: --platform os/architecture")
        wanted = None if platform is None or whole else parse_platform(platform)
        contents = self._collector.collect(reference, wanted, whole=whole)
        done, total = 0, sum(contents.sizes.values())

        def seen(size: int) -> None:
            nonlocal done
            done += size
            progress(done, total)

        progress(0, total)
        blobs, written = writer.write(contents, seen)
        root = contents.root
        return Exported(
            image=str(reference),
            target=target,
            digest=root.descriptor.digest,
            image_id=None
            if root.descriptor.media_type in INDEXES
            else decode(root.data, Manifest, "the manifest").config.digest,
            layers=len(contents.layers),
            blobs=blobs,
            bytes=written,
            foreign=len(contents.foreign),
        )
