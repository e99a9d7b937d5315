"""Exports an image: parses the target, collects the contents, writes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from layercache.errors import ConfigError
from layercache.export.contents import Collector
from layercache.oci.descriptor import INDEXES, Manifest, decode
from layercache.oci.platforms import parse_platform
from layercache.oci.reference import Reference
from layercache.sources.names import ARCHIVE, LAYOUT, registry_hint, registry_reference, split_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.export.contents import Contents
    from layercache.images.tags import Tags
    from layercache.oci.digest import Digest
    from layercache.registry.client import RegistryClient
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


class Target(Protocol):
    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write everything; return blobs and bytes written. ``seen`` gets each part of a layer's bytes."""


class Exporter:
    """Exports images from tiers. ``client`` is called only if the target is a registry."""

    def __init__(
        self, tiers: Sequence[Tier], resolver: Resolver, client: Callable[[], RegistryClient], tags: Tags
    ) -> None:
        self._collector = Collector(tiers, resolver, tags)
        self._client = client

    def export(
        self, name: str, target: str, platform: str | None, progress: Callable[[int, int], object]
    ) -> Exported:
        """As `Cache.export`."""
        reference = registry_reference(name)
        if reference is None:
            raise ConfigError(
                f"{name} is not an image in the cache", hint="name it as it was pulled from a registry"
            )
        whole = platform == ALL
        if whole and target.startswith(ARCHIVE):
            raise ConfigError(f"{ARCHIVE} holds one platform", hint="name it: --platform os/architecture")
        writer = self._target(target, reference)
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

    def _target(self, target: str, reference: Reference) -> Target:
        if target.startswith(LAYOUT):
            from layercache.export.to_layout import LayoutTarget

            text = target.removeprefix(LAYOUT)
            path, ref = split_path(text, os.path.isdir)
            if text.startswith("//") and not os.path.isdir(path) and (hint := registry_hint(text)):
                raise ConfigError(f"{target} is the path of an OCI layout, {path}", hint=hint)
            return LayoutTarget(_path(path, target), ref or reference.tag or "")
        if target.startswith(ARCHIVE):
            from layercache.export.to_archive import ArchiveTarget

            path, ref = split_path(target.removeprefix(ARCHIVE), os.path.isfile)
            named = Reference.parse(ref) if ref else reference
            tag = Reference(named.registry, named.repository, named.tag).familiar if named.tag else ""
            return ArchiveTarget(_path(path, target), tag)
        there = registry_reference(target)
        assert there is not None, "every other transport was handled above"
        from layercache.export.to_registry import RegistryTarget

        return RegistryTarget(self._client(), there, reference)


def _path(path: str, target: str) -> str:
    if not path:
        raise ConfigError(f"{target} names no path", hint=f"wanted {LAYOUT}PATH[:REF] or {ARCHIVE}PATH[:REF]")
    return path
