"""Patterns of paths: ``etc/*.conf``, ``**/site-packages/*.dist-info/METADATA``, ``*.py``."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ANY_FOLDERS = "**"
"""The part of a pattern that stands for any number of folders, or none."""


class Glob:
    """A pattern of paths. ``*``, ``?`` and ``[…]`` match as in `fnmatch`, but never a "/".

    Without a "/" it is compared with the last part of each path, else with the whole path from the root; a
    "/" at its start changes nothing else. ``**`` as a part stands for any number of folders, or none; at the
    end for all that is below a folder, as does a "/" there.

    Names are from images, and may be made to be slow to match: the time is bounded by the product of both
    lengths, as no part is tried again once a later ``**`` was reached.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.is_plain = not re.search(r"[*?[]", pattern)
        """Whether it can match one path only, or one name in each folder."""
        self._in_any_folder = "/" not in pattern.rstrip("/") and not pattern.endswith("/")
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if pattern.endswith("/"):
            parts.append(ANY_FOLDERS)
        if parts[-1:] == [ANY_FOLDERS]:
            parts.append("*")  # what is below a folder is not the folder itself
        self._parts = [None if part == ANY_FOLDERS else _matcher(part) for part in parts]

    def matches(self, path: str) -> bool:
        """Whether a path, whose parts are joined by "/", matches. The root ("") never does."""
        if not path:
            return False
        if self._in_any_folder:
            match = self._parts[-1] if self._parts else None
            return match is not None and match(path.rpartition("/")[2]) is not None
        return self._whole(path.split("/"))

    def _whole(self, path: list[str]) -> bool:
        """Match part by part; on failure go back to the last ``**``, which then takes one folder more."""
        parts, at, here = self._parts, 0, 0
        back: tuple[int, int] | None = None
        while here < len(path):
            match = parts[at] if at < len(parts) else None
            if at < len(parts) and match is None:
                back = (at, here)
                at += 1
            elif match is not None and match(path[here]):
                at, here = at + 1, here + 1
            elif back is not None:
                back = (back[0], back[1] + 1)
                at, here = back[0] + 1, back[1]
            else:
                return False
        return at == len(parts)

    def __repr__(self) -> str:
        return f"<Glob {self.pattern}>"


def _matcher(part: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(fnmatch.translate(part)).match
