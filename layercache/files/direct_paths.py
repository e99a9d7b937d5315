"""What one layer has at a place, without placing all that it has.

Almost every tar names its entries by their places: no path leads through a link, and none comes twice. Then
what is at a place is decided by few entries, and `Placed` needs no more than those.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING

from layercache.files.placed import Placed
from layercache.index.entry import OPAQUE, WHITEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.index.table import FileTable

LOOK_UP = 50
"""Entries that are placed in the time that one look-up takes here."""


class DirectPaths:
    """The paths of a layer's table, for look-ups of single places.

    There are as many look-ups as take less time than to place the whole layer, which is better after that.
    What is wrong with entries that do not matter for a place is not found out. Threads may share it: if two
    of them make or count the same at the same time, nothing is lost but time.
    """

    def __init__(self, table: FileTable) -> None:
        self._table = table
        self._left = len(table) // LOOK_UP

    def around(self, place: str, *, is_lowest: bool) -> Placed | None:
        """The layer, as far as it decides what is at a place; None if all of it has to be placed.

        ``is_lowest``: whether there is no layer below. Raises `FormatError` as `Placed`.
        """
        if self._left <= 0:
            return None
        self._left -= 1
        if not (self._is_direct and (is_lowest or self._stands_alone)):
            return None
        rows = self._rows_around(place)
        return None if rows is None else Placed(map(self._table.__getitem__, sorted(rows)), _nothing)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self._table.paths)}

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._table.paths)

    @cached_property
    def _is_direct(self) -> bool:
        """Whether each entry belongs where its path says, if no layer below has links."""
        paths = self._table.paths
        return len(self._rows) == len(paths) and not any(
            self._inside(paths[row]) for row in self._table.links
        )

    @cached_property
    def _stands_alone(self) -> bool:
        """Whether that is so over any layers: it names each folder itself, before what is in it."""
        paths = self._table.paths
        first = {path.rpartition("/")[0]: -row for row, path in enumerate(reversed(paths), 1 - len(paths))}
        return all(self._rows.get(folder, row) < row for folder, row in first.items() if folder)

    def _rows_around(self, place: str) -> set[int] | None:
        """The entries that matter for a place; None where it is not clear which do."""
        rows: set[int] = set()
        waiting = [place]
        while waiting:
            for path in _deciding(waiting.pop()):
                row = self._rows.get(path)
                if row is None or row in rows:
                    continue
                rows.add(row)
                entry = self._table[row]
                if entry.type == "hardlink":
                    if self._rows.get(entry.link, row) >= row:  # it is of a layer below, or there is none
                        return None
                    waiting.append(entry.link)
                is_folder = entry.type == "directory" and not entry.name.startswith(WHITEOUT)
                if not is_folder and self._inside(path):  # what is in it makes it a folder
                    return None
        if place and place not in self._rows and (inside := self._inside(place)):
            if WHITEOUT in inside:  # a mark makes no folder
                return None
            rows.add(self._rows[inside])
        return rows

    def _inside(self, folder: str) -> str:
        """One of the paths in a folder, or in those that it has; "" for none."""
        at = bisect_left(self._sorted, f"{folder}/")
        path = self._sorted[at] if at < len(self._sorted) else ""
        return path if path.startswith(f"{folder}/") else ""


def _deciding(place: str) -> Iterator[str]:
    """A place and the folders above it, and the marks that would hide what the layers below have there."""
    while place:
        folder, slash, name = place.rpartition("/")
        yield place
        yield f"{folder}{slash}{WHITEOUT}{name}"
        yield f"{folder}{slash}{OPAQUE}"
        place = folder
    yield ""


def _nothing(_place: str) -> None:
    """What the layers below have does not matter: no path leads there."""
