"""An image for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from layercache.aio.layer import Layer
from layercache.aio.stream import Stream, opening
from layercache.aio.wrapping import Awaits, Iterates, Opening, Wrapper
from layercache.images import image as blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.files.merged import ImageFile
    from layercache.oci.descriptor import Descriptor, Platform
    from layercache.oci.digest import Digest


def _files(image: blocking.Image) -> Iterator[ImageFile]:
    return iter(image.files())


class Image(Wrapper[blocking.Image]):
    """As `layercache.Image`."""

    @property
    def name(self) -> str:
        return self.sync.name

    @property
    def digest(self) -> Digest:
        return self.sync.digest

    @property
    def descriptor(self) -> Descriptor:
        return self.sync.descriptor

    @property
    def root(self) -> Descriptor:
        return self.sync.root

    @property
    def manifest(self) -> dict[str, Any]:
        return self.sync.manifest

    @property
    def raw_manifest(self) -> bytes:
        return self.sync.raw_manifest

    @property
    def config(self) -> dict[str, Any]:
        return self.sync.config

    @property
    def raw_config(self) -> bytes:
        return self.sync.raw_config

    @property
    def platform(self) -> Platform:
        return self.sync.platform

    @property
    def foreign(self) -> list[Descriptor]:
        return self.sync.foreign

    @property
    def layers(self) -> list[Layer]:
        return [Layer(layer, self._workers) for layer in self.sync.layers]

    def open(self, path: str) -> Opening[Stream]:
        """A file of the image. As `layercache.Image.open`."""
        return opening(self._workers, partial(self.sync.open, path))

    files = Iterates(_files)
    extract = Awaits(blocking.Image.extract)
