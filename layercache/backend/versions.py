"""Small objects and their versions, for backends that are `Conditional`."""

from __future__ import annotations

from layercache.backend.interface import SMALL_OBJECT
from layercache.errors import FormatError


def version_of(data: bytes) -> str:
    """Return a version for a store that has none: any change of the bytes changes it, also one in place."""
    import hashlib  # loads OpenSSL, which a command that reads alone does not need

    return hashlib.sha256(data).hexdigest()


def not_small(doing: str) -> FormatError:
    """Return the error of an object that is too big to be a small one; ``doing`` starts the message."""
    return FormatError(f"{doing}: more than {SMALL_OBJECT} bytes, where a small object should be")
