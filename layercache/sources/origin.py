"""Protocols for where a layer comes from when no tier has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.errors import DigestMismatchError
    from layercache.statistics.places import Place


class BlobSource(Protocol):
    """Where a layer comes from when every tier misses."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def place(self) -> Place:
        """What statistics call it. A reader may come from elsewhere, and know better: see `place_of`."""

    def open(self, start: int, end: int | None = None) -> Reader:
        """The compressed blob from ``start``, read no further than to ``end`` (None: its end), perhaps more.

        Raises `SourceError`, `NotFoundError`.
        """


@runtime_checkable
class Statable(Protocol):
    """A source that can be asked for a blob without its bytes."""

    def stat(self) -> int:
        """Bytes of the blob. Raises `SourceError`, `NotFoundError`."""


@runtime_checkable
class Rejectable(Protocol):
    """A reader of an origin that can fetch the bytes from several places."""

    def refute(self, error: DigestMismatchError) -> bool:
        """Report that the bytes were wrong; True if another try reads them from elsewhere."""
