"""The exceptions of layercache. Each says what failed, where layercache looked, and what to do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


WIDTH = 80
"""Columns of the narrowest terminal that messages are laid out for."""


class LayercacheError(Exception):
    """Base class of all errors that layercache raises on purpose.

    ``message`` says what failed, ``looked_in`` lists the places that were searched, and ``hint`` says
    what the user can do. ``str()`` of the error has all three.
    """

    def __init__(self, message: str, *, looked_in: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.looked_in = tuple(looked_in)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.looked_in:
            line = f"  looked in  {', '.join(self.looked_in)}"
            # Places in one line as far as they fit on a terminal, else one a line.
            lines.append(
                line if len(line) <= WIDTH else "  looked in  " + "\n             ".join(self.looked_in)
            )
        if self.hint:
            lines.append(f"  hint       {self.hint}")
        return "\n".join(lines)


class NotFoundError(LayercacheError):
    """The requested object does not exist. A failure to look it up raises another error."""


class IntegrityError(LayercacheError):
    """Data is corrupt. None of it was stored."""


class DigestMismatchError(IntegrityError):
    """Data does not have the expected hash or size."""


class FormatError(IntegrityError):
    """Data is not a valid gzip, zstd or tar stream or JSON document, as it should be."""


class LimitError(IntegrityError):
    """A layer inflates to more than the configured limits allow."""


class NotALayerError(LayercacheError):
    """The blob has no tar because it is not a layer: an attestation, a Helm chart, a config."""


class NotAFileError(LayercacheError):
    """A path leads to a folder, a device or a pipe, and should lead to a file; or not to a folder."""


class InUseError(LayercacheError):
    """A delete was refused because a cached image uses the blob."""


class BackendError(LayercacheError):
    """The store of a tier failed: unreachable, forbidden, full, broken."""


class ForbiddenError(BackendError):
    """The store of a tier refused an operation, for example on another user's file."""


class SourceError(LayercacheError):
    """A registry, OCI layout or archive failed: unreachable, forbidden, broken."""


class ClosedError(LayercacheError, ValueError):
    """The cache was closed, and can be used no more: a fault of the program, as reading a closed file is."""


class ConfigError(LayercacheError):
    """A URL, an option or a configuration file is invalid. The hint says what is allowed."""


class StoreFormatError(BackendError, ConfigError):
    """A store has another format than this version of layercache uses: an earlier one, which
    ``layercache upgrade URL`` converts, or a newer one; or its ``layercache.json`` is broken.
    """


class InvalidNameError(ConfigError, ValueError):
    """A digest, diff ID, reference, platform or object name is malformed."""


def wrong_type(expected: str, found: object) -> TypeError:
    """The error for an argument of another type than the method takes."""
    return TypeError(f"expected {expected}, found {type(found).__name__}: {found!r:.80}")


def most_similar(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most similar to a mistyped one; empty if none is similar."""
    import difflib

    similar = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), similar, 1)
    return similar[near[0]] if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Begin a hint with the name that was probably meant; empty if no known name is similar."""
    meant = most_similar(name, known)
    return f"did you mean {meant}? " if meant else ""


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception ends the program or a generator, and does not report a failure.

    Other kinds below `BaseException`, such as the panics of extensions in Rust, are failures. Python raises
    interrupts in the main thread alone, so ``sys.exit()`` in another thread is a failure of what calls it.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return threading.current_thread() is threading.main_thread()
    return isinstance(error, GeneratorExit)
