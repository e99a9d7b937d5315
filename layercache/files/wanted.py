"""Which files of an image are to be extracted, and in which order their bytes come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.files.restore import NODES
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.files.merged import ImageFile, ImageFiles
    from layercache.index.entry import FileEntry

PART = 32 << 20
"""Bytes of files that one thread writes before it asks for more, where any part of the tar is at hand."""

FILES = 512
"""Files of such a part at most."""


class WantedFile(Value, frozen=True):
    """One regular file: its entry, and the places of its other names."""

    entry: FileEntry
    others: list[str]


class Wanted:
    """What some paths of an image lead to, by kinds.

    A folder stands for all that is in it. The folders above come along, and the symbolic links through which
    a path leads, so that it leads to the same file where all is extracted. Raises `NotFoundError` for a path
    that is not there, and for a hard link whose target is not there.

    ``chosen``: the paths that were asked for, and all that is below. ``folders``: sorted, each behind those
    above it. ``links``: symbolic links. ``nodes``: devices and pipes. ``files``: regular files, each once.
    """

    def __init__(self, view: ImageFiles, paths: Sequence[str] | None) -> None:
        self._view = view
        self.chosen: set[str] = set()
        self.folders: list[ImageFile] = []
        self.links: list[ImageFile] = []
        self.nodes: list[ImageFile] = []
        self.files: list[WantedFile] = []
        self._by_layer: dict[int, list[WantedFile]] = {}
        found: dict[str, ImageFile] = {}
        for each in self._all() if paths is None else self._below(paths, found):
            found[each.path] = each
            self.chosen.add(each.path)
        self._sort(found)

    def _all(self) -> Iterator[ImageFile]:
        yield self._view.lookup("/")
        yield from self._view

    def _below(self, paths: Sequence[str], found: dict[str, ImageFile]) -> Iterator[ImageFile]:
        """What the paths lead to, and all in it; ``found`` gets what comes along."""
        tops = set()
        for path in paths:
            way = self._view.way(path)
            found.update((each.path, each) for each in way)
            tops.add(way[-1].path)
            yield way[-1]
        if any(found[top].entry.type == "directory" for top in tops):
            for each in self._view:
                folder = each.path
                while folder and folder not in tops:
                    folder = folder.rpartition("/")[0]
                if folder in tops:
                    yield each
        for place in list(found):
            while place:
                place = place.rpartition("/")[0]
                if place not in found:
                    found[place] = self._view.lookup(place)

    def _sort(self, found: dict[str, ImageFile]) -> None:
        names: dict[tuple[int, int], WantedFile] = {}
        for path in sorted(found):
            each = found[path]
            if each.entry.type == "directory":
                self.folders.append(each)
            elif each.entry.type == "symlink":
                self.links.append(each)
            elif each.entry.type in NODES:
                self.nodes.append(each)
            elif each.entry.type == "hardlink":
                raise NotFoundError(f"{path} is a hard link to {each.entry.link}, which is not there")
            elif known := names.get((each.stored_in, each.entry.offset)):
                known.others.append(path)
            else:
                names[each.stored_in, each.entry.offset] = wanted = WantedFile(each.entry, [])
                self._by_layer.setdefault(each.stored_in, []).append(wanted)
        self.files = list(names.values())

    def runs(self) -> Iterator[tuple[int, list[WantedFile]]]:
        """Files that one thread reads out of one layer's tar, in the order of their bytes.

        Those of a layer are one run, because its tar comes in one pass; but where any part of it is at hand,
        they are many, and of both ends of the tar several threads can write.
        """
        for layer, files in self._by_layer.items():
            files.sort(key=lambda each: each.entry.offset)
            if not self._view.layers[layer].is_at_hand:
                yield layer, files
                continue
            run, size = [], 0
            for each in files:
                run.append(each)
                size += each.entry.size
                if size >= PART or len(run) == FILES:
                    yield layer, run
                    run, size = [], 0
            if run:
                yield layer, run
