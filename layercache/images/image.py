"""An image: its manifest, its configuration, its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layercache.oci.descriptor import Descriptor, Platform

if TYPE_CHECKING:
    from layercache.layer import Layer
    from layercache.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Image:
    """One platform of an image. Its layers are lazy: they fill the cache as they are read."""

    name: str
    """The full reference, or the path, by which it was opened."""
    descriptor: Descriptor
    """Of the manifest: media type, digest, size in bytes."""
    root: Descriptor
    """Of what the name leads to: the manifest, or the index that lists it."""
    raw_manifest: bytes
    """The manifest as it was pushed, byte for byte: it hashes to `digest`."""
    manifest: dict[str, Any]
    """The manifest's JSON, nothing left out."""
    config: dict[str, Any]
    """The config's JSON; empty for an artefact, whose config is not an image's."""
    raw_config: bytes
    """The config, byte for byte; empty if there is none."""
    layers: list[Layer]
    """The layers, lowest first, without foreign ones."""
    foreign: list[Descriptor]
    """Non-distributable layers, which are never fetched."""

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.descriptor.digest

    @property
    def platform(self) -> Platform:
        """The platform in the config."""
        fields = [self.config.get(field) or "" for field in ("architecture", "os", "variant")]
        return Platform(architecture=fields[0], os=fields[1], variant=fields[2])
