"""A source of images that is a dictionary, and images opened out of it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from layercache import NotFoundError
from layercache.images.opening import Images
from layercache.oci.descriptor import OCI_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.platforms import parse_platform
from layercache.oci.reference import Reference

if TYPE_CHECKING:
    from servers.images import Image as Made
    from servers.images import ImageIndex

    from layercache.backend import Reader
    from layercache.cache import Cache
    from layercache.images.image import Image

REFERENCE = Reference.parse("registry.example/team/app:1.0")


class Blob(io.BytesIO):
    @property
    def size(self) -> int | None:
        return len(self.getvalue())


@dataclass
class DictSource:
    """An image's place of origin, as a registry is one: documents and blobs by digest, and what was asked."""

    top: Descriptor
    documents: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    name: str = "registry.example/team/app:1.0"

    def root(self, *, new: bool = False) -> Descriptor:
        return self.top

    def document(self, descriptor: Descriptor) -> bytes:
        self.asked.append(descriptor.digest)
        if descriptor.digest not in self.documents:
            raise NotFoundError(f"no {descriptor.digest} here")
        return self.documents[descriptor.digest]

    def open_blob(self, descriptor: Descriptor, start: int = 0) -> Reader:
        self.asked.append(descriptor.digest)
        if descriptor.digest not in self.blobs:
            raise NotFoundError(f"no {descriptor.digest} here")
        return Blob(self.blobs[descriptor.digest][start:])

    def close(self) -> None:
        pass


def source_of(made: Made | ImageIndex) -> DictSource:
    return DictSource(
        made.descriptor,
        {digest: data for digest, (_, data) in made.documents.items()},
        {digest: data for digest, data in made.blobs.items()},  # noqa: C416  # a str for a key
    )


def images(cache: Cache) -> Images:
    return Images(cache.tiers, cache._resolver, cache._observers)


def pulled(cache: Cache, source: DictSource, platform: str | None = "linux/amd64") -> Image:
    wanted = parse_platform(platform) if platform else None
    return images(cache).from_source(source, REFERENCE, wanted)


def made_of(manifest: dict[str, Any], config: bytes, media_type: str = OCI_MANIFEST) -> DictSource:
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, **manifest}).encode()
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
    return DictSource(descriptor, {descriptor.digest: data}, {Digest.of(config): config})


def entry(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}
