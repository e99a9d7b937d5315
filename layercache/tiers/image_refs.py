"""What a store's images refer to: their documents and their layers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import SMALL_OBJECT
from layercache.errors import FormatError, NotFoundError
from layercache.oci.descriptor import (
    DOCUMENT_MAX,
    INDEXES,
    MANIFESTS,
    Descriptor,
    Index,
    Manifest,
    decode,
    media_type_of,
)
from layercache.streams.readers import read_bounded
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Backend, Reader
    from layercache.oci.digest import Hash


def image(backend: Backend, key: str) -> Descriptor:
    """What the reference names that has this key. Raises `NotFoundError`, also where it is not readable."""
    try:
        with backend.open(key) as reader:
            data = read_bounded(reader, SMALL_OBJECT, key)
        return decode(data, Descriptor, f"{backend.url}: {key}")
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
    Its own digest comes first. A layer's tar counts as needed through the layer's digest.
    """
    seen: set[Hash] = set()
    todo = [descriptor]
    while todo:  # no recursion: indexes may be nested as deep as somebody likes
        document = todo.pop()
        if document.digest in seen:
            continue
        seen.add(document.digest)
        yield document.digest, True
        with suppress(NotFoundError, FormatError):
            with open_blob(document.digest) as reader:
                data = read_bounded(reader, limit, str(document.digest))
            kind = media_type_of(data, document.media_type, str(document.digest))
            if kind in INDEXES:
                index = decode(data, Index, str(document.digest))
                yield from ((blob.digest, False) for blob in index.blobs)
                todo += reversed(index.documents)
            elif kind in MANIFESTS:
                manifest = decode(data, Manifest, str(document.digest))
                yield manifest.config.digest, True
                for layer in manifest.layers:
                    yield layer.digest, False
