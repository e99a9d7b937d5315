"""The files of images and layers as file systems of fsspec, to be read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layercache.filesystem.names import split_image, split_layer
from layercache.filesystem.reading import Reading

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    Urls = str | os.PathLike[str] | Sequence[str]


class ImageFileSystem(Reading):
    """The files of images: ``image://alpine:3.20/etc/os-release``.

    Storage options: ``image``: any image as `Cache.image` takes it, whose files are then
    ``/etc/os-release``; ``cache``: as `layercache.open` takes it, by default the configured one;
    ``platform``: os/architecture[/variant], by default Linux on this machine's architecture. For all else see
    `Reading`.
    """

    protocol = "image"

    def __init__(
        self,
        image: str | None = None,
        cache: Urls | None = None,
        platform: str | None = None,
        pinned: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(image, cache, platform, pinned, options)

    @classmethod
    def split(cls, path: str) -> tuple[str, str]:
        return split_image(path)


class LayerFileSystem(Reading):
    """The files of single layers, by digest or diff ID: ``layer://sha256:9f32…/etc/os-release``.

    What a layer has of files and folders, as its tar says; marks of what it hides of lower layers are files
    as well. Storage options: ``layer``: a hash; ``cache`` as for `ImageFileSystem`. For all else see
    `Reading`.
    """

    protocol = "layer"

    def __init__(self, layer: str | None = None, cache: Urls | None = None, **options: Any) -> None:
        super().__init__(layer, cache, None, None, options)

    @classmethod
    def split(cls, path: str) -> tuple[str, str]:
        return split_layer(path)
