"""Causes that a warning has reported, so that an error or another warning does not repeat them."""

from __future__ import annotations

from layercache.errors import LayercacheError


class Reported:
    """Remembers causes by place. Two threads that report one at the same moment may both print it."""

    def __init__(self) -> None:
        self._hints: dict[tuple[str, str], str] = {}  # by place and cause

    def is_new(self, where: str, why: str, hint: str = "") -> bool:
        """Remember a failure, of which the last words are the cause; False if it was reported before."""
        cause = (where, why.rpartition(": ")[2])
        known = cause in self._hints
        self._hints.setdefault(cause, hint)
        return not known

    def shortened(self, error: Exception) -> Exception:
        """Return an error as it is to be printed: without the cause and the hint that were reported."""
        if isinstance(error, LayercacheError):
            for (where, why), hint in self._hints.items():
                if error.message.startswith(f"{where}: ") and error.message.endswith(f": {why}"):
                    return LayercacheError(
                        "not everything could be stored, for the reason above",
                        hint="" if error.hint == hint else error.hint,
                    )
        return error
