"""The fact that a digest and a diff ID name the same layer, and how it is written down."""

from __future__ import annotations

from dataclasses import dataclass

from layercache.descriptor import OCTETS, Descriptor, decode, encode
from layercache.digest import DiffID, Digest
from layercache.errors import FormatError

DIFF_ID = "dev.ggcr.cache.diffid"
"""Annotation of a compressed blob's descriptor: its diff ID, as go-containerregistry's proposal names it."""

UNCOMPRESSED_SIZE = "dev.layercache.uncompressed-size"
"""Annotation: the tar's size in bytes, decimal."""


@dataclass(frozen=True, slots=True)
class Association:
    """``digest``, a blob of ``size`` bytes, inflates to ``diff_id``.

    ``uncompressed_size`` is the tar's size in bytes; None while nobody has inflated it. ``computed``:
    somebody inflated the blob and hashed both sides. Else an image's config claims it.
    """

    digest: Digest
    diff_id: DiffID
    size: int
    media_type: str = OCTETS
    uncompressed_size: int | None = None
    computed: bool = False

    def encode(self) -> bytes:
        """An OCI descriptor of the compressed blob, with annotations for the rest."""
        annotations = {DIFF_ID: str(self.diff_id)}
        if self.uncompressed_size is not None:
            annotations[UNCOMPRESSED_SIZE] = str(self.uncompressed_size)
        return encode(
            Descriptor(
                media_type=self.media_type,
                digest=self.digest,
                size=self.size,
                annotations=annotations,
            )
        )

    @classmethod
    def decode(cls, data: bytes, *, computed: bool) -> Association:
        """Raises `FormatError`; a torn or foreign object is no fact."""
        descriptor = decode(data, Descriptor, "an association")
        annotations = descriptor.annotations or {}
        size = annotations.get(UNCOMPRESSED_SIZE, "")
        if DIFF_ID not in annotations:
            raise FormatError("an association names no diff ID")
        return cls(
            digest=descriptor.digest,
            diff_id=DiffID(annotations[DIFF_ID]),
            media_type=descriptor.media_type,
            size=descriptor.size,
            uncompressed_size=int(size) if size.isascii() and size.isdecimal() else None,
            computed=computed,
        )
