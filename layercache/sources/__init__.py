"""Where a miss in every tier is filled from: a registry, an OCI layout, a ``docker save`` archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.oci.descriptor import Descriptor


class Source(Protocol):
    """One image's place of origin, bound to the reference that it was opened with. Thread-safe.

    A source checks what it can check for nothing (status, stated length); hashes of blobs are checked by
    whoever reads them. Failures are `SourceError`, absence is `NotFoundError`, a document that is too big or
    not valid is `FormatError`.
    """

    @property
    def name(self) -> str:
        """How messages and statistics call it: ``docker.io/library/alpine``, ``oci:/srv/layout``."""

    def root(self, *, new: bool = False) -> Descriptor:
        """What the reference names now: an image manifest's or an index's descriptor.

        ``new``: nothing is known of it, and its document is what will be asked for next.
        """

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest or index, whole, checked against the descriptor's digest and size."""

    def open_blob(self, descriptor: Descriptor, start: int = 0) -> Reader:
        """A config's or layer's bytes from an offset on, as distributed."""

    def close(self) -> None: ...
