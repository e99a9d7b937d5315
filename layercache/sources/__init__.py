"""Sources that are asked when every tier misses: registries, OCI layouts, ``docker save`` archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.backend import Reader
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.reference import Reference
    from layercache.statistics.places import Place


class Source(Protocol):
    """Where one image comes from, bound to the reference that it was opened with. Thread-safe.

    A source checks what costs nothing (status, stated length); the reader of a blob checks its hash. Failures
    are `SourceError`, absence is `NotFoundError`, a document that is too big or not valid is `FormatError`.
    """

    @property
    def name(self) -> str:
        """Its name in messages: ``docker.io/library/alpine``, ``oci:/srv/layout``."""

    @property
    def place(self) -> Place:
        """What statistics call it."""

    def root(self, *, new: bool = False) -> Descriptor:
        """The descriptor of the manifest or index that the reference names now.

        ``new``: no tier has it, so its document will be asked for next.
        """

    def references(self) -> Sequence[Reference]:
        """The names of what `root` returned; below localhost/imported if it has none here."""

    def document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or index, checked against the descriptor's digest."""

    def open_blob(self, descriptor: Descriptor, start: int = 0, end: int | None = None) -> Reader:
        """The bytes of a config or layer, as distributed, from ``start`` to ``end``, or perhaps further.

        Only what reads from a network has a reason to stop there.
        """

    def close(self) -> None: ...
