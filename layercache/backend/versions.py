"""Small objects and their versions, for backends that are `Conditional`."""

from __future__ import annotations

from layercache.backend.interface import SMALL_OBJECT
from layercache.errors import FormatError


def version_of(data: bytes) -> str:
    """Return a version for a store that has none: the bytes themselves, as a text. So any change is another
    version, also one in place, and a command that only reads loads nothing that hashes.
    """
    return data.decode("latin-1")


def not_small(doing: str) -> FormatError:
    """Return the error of an object that is too big to be a small one; ``doing`` starts the message."""
    return FormatError(f"{doing}: more than {SMALL_OBJECT} bytes, where a small object should be")
