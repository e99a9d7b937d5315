"""The tree of errors: what was wanted, where it was looked for, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class LayercacheError(Exception):
    """The root of every error that layercache raises on purpose.

    ``looked_in`` names the places that were asked, ``hint`` says what the reader can do. Printing the
    error prints all three.
    """

    def __init__(self, message: str, *, looked_in: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.looked_in = tuple(looked_in)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.looked_in:
            lines.append(f"  looked in  {', '.join(self.looked_in)}")
        if self.hint:
            lines.append(f"  hint       {self.hint}")
        return "\n".join(lines)


class NotFoundError(LayercacheError):
    """What was asked for is not there. Never raised for a guess: a failure to look is another error."""


class IntegrityError(LayercacheError):
    """Bytes are not what they should be. Nothing of them was published."""


class DigestMismatchError(IntegrityError):
    """Bytes do not have the hash or the size that they were asked for by."""


class FormatError(IntegrityError):
    """Bytes that should be a gzip, zstd or tar stream, or a JSON document, are not."""


class LimitError(IntegrityError):
    """A layer inflates to more than the configured limit allows."""


class NotALayerError(LayercacheError):
    """The tar of a blob was asked for that is no layer: an attestation, a Helm chart, a config."""


class InUseError(LayercacheError):
    """A delete was refused since a cached image refers to the blob."""


class BackendError(LayercacheError):
    """A tier's store failed: unreachable, forbidden, full, broken."""


class ForbiddenError(BackendError):
    """A tier's store is there, and does not allow it: what is another user's, say."""


class SourceError(LayercacheError):
    """A registry, OCI layout or archive failed: unreachable, forbidden, broken."""


class ConfigError(LayercacheError):
    """A URL, an option or a configuration is wrong. The message lists what is allowed."""


class InvalidNameError(ConfigError, ValueError):
    """A digest, diff ID, reference, platform or object name is not well formed."""
