"""What a store's images refer to: their documents and their layers."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.errors import FormatError, NotFoundError
from layercache.oci.descriptor import DOCUMENT_MAX, Descriptor, decode
from layercache.streams.readers import read_bounded
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Backend, Reader
    from layercache.oci.digest import Hash


def image(backend: Backend, key: str) -> Descriptor:
    """What the reference names that has this key. Raises `NotFoundError`, also where it is not readable."""
    return dated_image(backend, key)[0]


def dated_image(backend: Backend, key: str) -> tuple[Descriptor, float | None]:
    """The same with the time of its object, if the store states that with the bytes."""
    try:
        with backend.open(key) as reader:
            data = read_bounded(reader, SMALL_OBJECT, key)
            modified = getattr(reader, "modified", None)
        known = modified is not None and math.isfinite(modified)
        return decode(data, Descriptor, f"{backend.url}: {key}"), modified if known else None
    except FormatError as error:
        raise NotFoundError(str(error)) from error


def images(backend: Backend) -> Iterator[tuple[str, Descriptor]]:
    """Every image's key and descriptor."""
    for entry in backend.scan(keys.IMAGES):
        with suppress(NotFoundError):
            yield entry.key, image(backend, entry.key)


def contents(
    open_blob: Callable[[Hash], Reader], descriptor: Descriptor, limit: int = DOCUMENT_MAX
) -> Iterator[tuple[Hash, bool]]:
    """Every blob that an image needs, and whether it is a document, as far as its documents are here.

    ``open_blob`` raises `NotFoundError` for those that are not; none of more than ``limit`` bytes is read.
    Its own digest comes first; a blob comes as often as it is named. A layer's tar counts as needed through
    the layer's digest. What is below the limits of `walk` belongs to no image that anybody can open.
    """
    from layercache.oci.image_tree import walk

    def read(document: Descriptor) -> bytes:
        with open_blob(document.digest) as reader:
            return read_bounded(reader, limit, str(document.digest))

    yield descriptor.digest, True
    for node in walk(read, descriptor, failed=_leave_out):
        yield from node.blobs()


def _leave_out(_: Descriptor, __: Exception) -> None:
    """A document that is not here, or not one at all, names nothing."""
