"""Causes that a warning has reported, so that an error or another warning does not repeat them."""

from __future__ import annotations

from layercache.errors import LayercacheError


class Reported:
    """Remembers causes by place. Two threads that report one at the same moment may both print it."""

    def __init__(self) -> None:
        self._causes: set[tuple[str, str]] = set()

    def is_new(self, where: str, why: str) -> bool:
        """Remember a failure, of which the last words are the cause; False if it was reported before."""
        cause = (where, why.rpartition(": ")[2])
        known = cause in self._causes
        self._causes.add(cause)
        return not known

    def shortened(self, error: Exception) -> Exception:
        """Return an error as it is to be printed: without the cause if that was reported."""
        if isinstance(error, LayercacheError):
            for where, why in self._causes:
                if error.message.startswith(f"{where}: ") and error.message.endswith(f": {why}"):
                    return LayercacheError("nothing could be stored, for the reason above", hint=error.hint)
        return error
