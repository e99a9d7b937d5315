"""The fact that a digest and a diff ID name the same layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import FormatError, InvalidNameError
from layercache.oci.descriptor import OCTETS, Descriptor, is_layer
from layercache.oci.digest import DiffID, Digest
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.oci.descriptor import UncheckedDescriptor

DIFF_ID = "dev.ggcr.cache.diffid"
"""Annotation of a compressed blob's descriptor: its diff ID, as go-containerregistry's proposal names it."""

UNCOMPRESSED_SIZE = "dev.layercache.uncompressed-size"
"""Annotation: the tar's size in bytes, decimal."""

FACTS_MAX = 32
"""Facts about one name, of a kind, that are looked at in one place: no layer has nearly so many."""


class NotOfALayerError(FormatError):
    """A fact whose media type is not a layer's. No version reads it; older ones wrote claims of this kind."""


class Association(Value, frozen=True):
    """``digest``, a blob of ``size`` bytes, inflates to ``diff_id``.

    ``uncompressed_size`` is the tar's size in bytes; None while nobody has inflated it. ``computed``:
    somebody inflated the blob and hashed both sides. Else an image's config claims it. ``counted``: the
    blob's size was counted by us, and is not what others wrote down. That is nowhere written.
    """

    digest: Digest
    diff_id: DiffID
    size: int
    media_type: str = OCTETS
    uncompressed_size: int | None = None
    computed: bool = False
    counted: bool = True

    def descriptor(self, more: Mapping[str, str] | None = None) -> Descriptor:
        """An OCI descriptor of the compressed blob, with annotations for the rest, and ``more`` of them."""
        annotations = {DIFF_ID: str(self.diff_id)}
        if self.uncompressed_size is not None:
            annotations[UNCOMPRESSED_SIZE] = str(self.uncompressed_size)
        annotations |= more or {}
        return Descriptor(
            media_type=self.media_type, digest=self.digest, size=self.size, annotations=annotations
        )

    @classmethod
    def of(cls, descriptor: Descriptor | UncheckedDescriptor, *, computed: bool) -> Association:
        """The fact that a descriptor states. Raises `FormatError`, `InvalidNameError` for a wrong digest."""
        annotations = descriptor.annotations or {}
        try:
            diff_id = DiffID(annotations.get(DIFF_ID, ""))
        except InvalidNameError as error:
            raise FormatError(f"an association names no diff ID: {error.message}") from error
        size = annotations.get(UNCOMPRESSED_SIZE)
        if size is not None and not _is_size(size):
            raise FormatError(f"an association's uncompressed size is {size[:40]!r}")
        if not is_layer(descriptor.media_type):
            raise NotOfALayerError(f"an association is of {descriptor.media_type}")
        return cls(
            digest=Digest(descriptor.digest),
            diff_id=diff_id,
            media_type=descriptor.media_type,
            size=descriptor.size,
            uncompressed_size=None if size is None else int(size),
            computed=computed,
        )


def _is_size(text: str) -> bool:
    """Whether the text is a decimal number of at most 18 digits."""
    return len(text) <= 18 and text.isascii() and text.isdecimal()
