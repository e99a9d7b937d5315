"""Images in a backend: what a reference names is one small object, an OCI descriptor."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import write_whole
from layercache.backend.capabilities import Conditional
from layercache.errors import FormatError, NotFoundError
from layercache.oci.descriptor import Descriptor, decode, encode
from layercache.tiers import image_refs
from layercache.tiers.stores import ImageStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend

YOUNG = 60.0
"""Seconds after its last write in which a tag is not refreshed."""


class BackendImages(ImageStore):
    """A key is the object's name."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._conditional = backend if isinstance(backend, Conditional) else None

    def get(self, key: str) -> Descriptor:
        return image_refs.image(self._backend, key)

    def time(self, key: str) -> float:
        return self._backend.stat(key).modified

    def dated(self, key: str) -> tuple[Descriptor, float]:
        root, modified = image_refs.dated_image(self._backend, key)
        return root, self.time(key) if modified is None else modified

    def tag(self, key: str, descriptor: Descriptor) -> None:
        write_whole(self._backend.create(key), encode(descriptor))

    def tag_once(self, key: str, descriptor: Descriptor, *, refresh: bool = False) -> None:
        # A fleet that starts one image comes here at once, and Google takes one write a second of an object.
        # Of those who find the same, one writes: what another machine wrote meanwhile is as new as this.
        store = self._conditional
        if store is None or not store.honours_conditions():
            if refresh or not self.names(key, descriptor):
                self.tag(key, descriptor)
            return
        there, version = None, None
        try:
            data, version = store.read_versioned(key)
        except NotFoundError:
            pass
        except FormatError:  # it is far too big
            self.tag(key, descriptor)
            return
        else:
            with suppress(FormatError):
                there = decode(data, Descriptor, key)
        if there != descriptor or (refresh and self.time(key) < time.time() - YOUNG):
            store.write_if(key, encode(descriptor), version)

    def forget(self, key: str) -> None:
        self._backend.delete(key)

    def scan(self) -> Iterator[tuple[str, Descriptor]]:
        return image_refs.images(self._backend)

    def listed(self, within: str) -> Iterator[str]:
        return (entry.key for entry in self._backend.scan(within))
