"""What a layer comes from when no tier has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.errors import DigestMismatchError


class BlobSource(Protocol):
    """Where a layer comes from when every tier misses."""

    @property
    def name(self) -> str:
        """How messages and statistics call it."""

    def open(self, start: int) -> Reader:
        """The compressed blob from an offset on. Raises `SourceError`, `NotFoundError`."""


@runtime_checkable
class Rejectable(Protocol):
    """A reader out of an origin that has its bytes from one of several places."""

    def refute(self, error: DigestMismatchError) -> bool:
        """The bytes were found wrong; whether another try takes them from elsewhere."""
