"""Exports an image: parses the target, collects the contents, writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.export.contents import Collector
from layercache.images.tags import Tags
from layercache.images.writer import ImageWriter
from layercache.oci.descriptor import INDEXES, Manifest, decode
from layercache.oci.platforms import parse_platform
from layercache.sources.names import registry_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.events import Observers
    from layercache.export.contents import Contents
    from layercache.export.recompressed import Recompressed
    from layercache.export.targets import Target, Targets
    from layercache.oci.digest import Digest
    from layercache.resolver.resolver import Resolver
    from layercache.tiers.tier import Tier

ALL = "all"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did. ``digest``: of the manifest or index; ``image_id``: of the config, if there is one.

    ``blobs`` and ``bytes`` count what was written, without what the target already had. ``foreign`` layers
    were left out. ``pulled``: the digest in the cache, which is another one if layers were compressed again;
    then ``attestations`` that are about the old manifests were left out.
    """

    image: str
    target: str
    digest: Digest
    image_id: Digest | None
    layers: int
    blobs: int
    bytes: int
    foreign: int
    pulled: Digest
    attestations: int


class Exporter:
    """Exports images from tiers to targets."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        resolver: Resolver,
        observers: Observers,
        targets: Targets,
        *,
        strict: bool = False,
    ) -> None:
        tags = Tags(tiers, ImageWriter(tiers, resolver.keeper), observers, strict=strict)
        self._collector = Collector(tiers, resolver, tags)
        self._targets = targets

    def export(
        self,
        name: str,
        target: str,
        platform: str | None,
        compression: str | None,
        progress: Callable[[int, int], object],
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
        recompressed = self._recompressed(compression, target, writer)
        wanted = None if platform is None or whole else parse_platform(platform)
        contents = self._collector.collect(reference, wanted, whole=whole)
        pulled = contents.root.descriptor.digest
        if recompressed is not None:
            contents = recompressed.contents(contents, progress)
        blobs, written = _written(writer, contents, progress)
        return Exported(
            image=str(reference),
            target=target,
            digest=contents.root.descriptor.digest,
            image_id=_image_id(contents),
            layers=len(contents.layers),
            blobs=blobs,
            bytes=written,
            foreign=len(contents.foreign),
            pulled=pulled,
            attestations=len(recompressed.omitted) if recompressed else 0,
        )

    def _recompressed(self, compression: str | None, target: str, writer: Target) -> Recompressed | None:
        if compression is None:
            return None
        from layercache.export.recompressed import Recompressed

        if writer.one_platform:
            raise ConfigError(
                f"{target} gets the layers as tars",
                hint="compressed layers go to oci:, oci-archive: or docker://",
            )
        try:
            return Recompressed.parse(compression)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def _written(writer: Target, contents: Contents, progress: Callable[[int, int], object]) -> tuple[int, int]:
    """Write everything; return blobs and bytes written."""
    done, total = 0, sum(contents.sizes.values())

    def seen(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    progress(0, total)
    return writer.write(contents, seen)


def _image_id(contents: Contents) -> Digest | None:
    root = contents.root
    if root.descriptor.media_type in INDEXES:
        return None
    return decode(root.data, Manifest, "the manifest").config.digest
