"""What an image shows of the entries of its layers."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.files.placed import Placed
    from layercache.index.entry import FileEntry

_T = TypeVar("_T")


def merge(
    layers: Sequence[Placed],
    plain: Callable[[FileEntry, int, int], _T],
    other: Callable[[str, int], _T],
) -> dict[str, _T]:
    """What the image has, by place: of each layer what those above do not have, nor hide.

    ``plain`` makes it of an entry and twice the number of its layer; ``other`` of the place and the number,
    where it is a hard link or an implied folder.
    """
    merged: dict[str, _T] = {}
    hidden: set[str] = set()  # with all that is below
    opaque: set[str] = set()  # only what is below
    for number in reversed(range(len(layers))):
        placed = layers[number]
        is_top = not (merged or hidden or opaque)
        visible = placed.entries if is_top else _visible(placed, merged, hidden, opaque)
        same = repeat(number)
        merged.update(zip(visible, map(plain, visible.values(), same, same), strict=True))
        for place in (*placed.linked, *placed.implied):
            if place in visible:
                merged[place] = other(place, number)
        if number:
            hidden |= placed.whiteouts
            hidden.update(place for place, entry in placed.entries.items() if entry.type != "directory")
            opaque |= placed.opaque
    return merged


def _visible(
    placed: Placed, above: dict[str, _T], hidden: set[str], opaque: set[str]
) -> dict[str, FileEntry]:
    """The entries of a layer that those above it leave."""
    visible = {}
    shown = {"": "" not in opaque}  # by folder: whether this layer's files in it are in the image
    for place, entry in placed.entries.items():
        if place in above or place in hidden:
            continue
        folder = place.rpartition("/")[0]
        known = shown.get(folder)
        if known or (known is None and _is_shown(folder, shown, hidden, opaque)) or not place:
            visible[place] = entry
    return visible


def _is_shown(folder: str, shown: dict[str, bool], hidden: set[str], opaque: set[str]) -> bool:
    """Whether the layers above show what a lower one has in a folder. Remembers it for each folder."""
    way = []
    while folder not in shown:
        way.append(folder)
        folder = folder.rpartition("/")[0]
    for each in reversed(way):
        shown[each] = shown[folder] and each not in hidden and each not in opaque
        folder = each
    return shown[folder]
