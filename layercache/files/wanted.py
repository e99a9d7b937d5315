"""Which files of an image are to be extracted, and in which order their bytes come."""

from __future__ import annotations

from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.files.restore import NODES
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layercache.files.merged import ImageFile, ImageFiles
    from layercache.index.entry import FileEntry

PART = 32 << 20
"""Bytes of files that one thread writes before it asks for more, where any part of the tar is at hand."""

GAP = 4 << 20
"""Bytes between two files from which on they are not read, if they need not."""

FILES = 512
"""Files of such a part at most."""


class WantedFile(Value, frozen=True, gc=False):
    """One regular file: its entry, and the places of its other names."""

    entry: FileEntry
    others: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """Where its bytes end in the tar."""
        entry = self.entry
        length = entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)
        return entry.offset + length


class Run(Value, frozen=True):
    """Files that are read one after the other. ``in_pass``: out of a pass over the whole layer."""

    layer: int
    files: list[WantedFile]
    in_pass: bool = False


class Wanted:
    """What some paths of an image lead to, by kinds.

    A folder stands for all that is in it. The folders above come along, and the symbolic links through which
    a path leads, so that it leads to the same file where all is extracted. Raises `NotFoundError` for a path
    that is not there, and for a hard link whose target is not there.

    ``chosen``: the folders that were asked for, and all below. ``folders``: each behind those above it.
    ``links``: symbolic links. ``nodes``: devices and pipes. ``files``: regular files, each once.
    """

    def __init__(self, view: ImageFiles, paths: Sequence[str] | None) -> None:
        self._view = view
        self.chosen: set[str] = set()
        self.folders: list[ImageFile] = []
        self.links: list[ImageFile] = []
        self.nodes: list[ImageFile] = []
        self._by_layer: dict[int, list[WantedFile]] = {}
        if paths is None:
            self._sort(self._all())
            self.chosen.update(each.path for each in self.folders)
        else:
            along: dict[str, ImageFile] = {}
            found = {each.path: each for each in self._below(paths, along)}
            self.chosen.update(path for path, each in found.items() if each.entry.type == "directory")
            found = {**along, **found}
            self._sort(found[path] for path in sorted(found))

    @property
    def files(self) -> Iterator[WantedFile]:
        """Regular files, each once."""
        return chain.from_iterable(self._by_layer.values())

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

    def _sort(self, found: Iterable[ImageFile]) -> None:
        files: dict[int, list[FileEntry]] = {}
        for each in found:
            if each.entry.type == "directory":
                self.folders.append(each)
            elif each.entry.type == "symlink":
                self.links.append(each)
            elif each.entry.type in NODES:
                self.nodes.append(each)
            elif each.entry.type == "hardlink":
                raise NotFoundError(f"{each.path} is a hard link to {each.entry.link}, which is not there")
            else:
                files.setdefault(each.stored_in, []).append(each.entry)
        for layer, entries in files.items():
            entries.sort(key=attrgetter("offset"))
            names = (list(same) for _, same in groupby(entries, attrgetter("offset")))
            self._by_layer[layer] = [
                WantedFile(first, tuple(other.path for other in others)) for first, *others in names
            ]

    def runs(self) -> Iterator[Run]:
        """Files that one thread reads, in the order of their bytes, out of one layer's tar.

        Those of a layer are one run, as its tar comes in one pass, and is then kept. Where any part can be
        read, or little is wanted of a tar with seek points, they are several, without what is between.
        """
        for layer, files in self._by_layer.items():
            tar = self._view.layers[layer]
            size = sum(each.entry.size for each in files)
            if tar.is_at_hand or (2 * size < tar.table.tar_size and tar.has_points):
                yield from (Run(layer, part) for part in _parts(files))
            else:
                yield Run(layer, files, in_pass=True)


def _parts(files: Sequence[WantedFile]) -> Iterator[list[WantedFile]]:
    part: list[WantedFile] = []
    size = end = 0
    for each in files:
        if part and (size >= PART or len(part) == FILES or each.entry.offset - end > GAP):
            yield part
            part, size = [], 0
        part.append(each)
        size += each.entry.size
        end = each.end
    yield part
