"""Images in a backend: what a reference names is one small object, an OCI descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend import write_whole
from layercache.oci.descriptor import encode
from layercache.tiers import image_refs
from layercache.tiers.stores import ImageStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend
    from layercache.oci.descriptor import Descriptor


class BackendImages(ImageStore):
    """A key is the object's name."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def get(self, key: str) -> Descriptor:
        return image_refs.image(self._backend, key)

    def time(self, key: str) -> float:
        return self._backend.stat(key).modified

    def dated(self, key: str) -> tuple[Descriptor, float]:
        root, modified = image_refs.dated_image(self._backend, key)
        return root, self.time(key) if modified is None else modified

    def tag(self, key: str, descriptor: Descriptor) -> None:
        write_whole(self._backend.create(key), encode(descriptor))

    def forget(self, key: str) -> None:
        self._backend.delete(key)

    def scan(self) -> Iterator[tuple[str, Descriptor]]:
        return image_refs.images(self._backend)
