"""Which files of an image are to be extracted, and in which order their bytes come."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError, wrong_type
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


class Run(Value, frozen=True):
    """Files that are read one after the other, up to byte ``end`` of a layer's tar.

    ``in_pass``: out of a pass over the whole layer.
    """

    layer: int
    files: Sequence[FileEntry]
    end: int
    in_pass: bool = False


class Wanted:
    """What some paths of an image lead to, by kinds.

    A folder stands for all that is in it. The folders above come along, and the symbolic links through which
    a path leads, so that it leads to the same file where all is extracted. Raises `NotFoundError` for a path
    that is not there, and for a hard link whose target is not there.

    ``chosen``: the folders that were asked for, and all below. ``folders``: each behind those above it.
    ``links``: symbolic links. ``nodes``: devices and pipes. ``others``: of a regular file with several names
    the places that it has besides the one in `files`.
    """

    def __init__(self, view: ImageFiles, paths: Sequence[str] | None) -> None:
        """``paths``: None for everything. Raises as `ImageFiles.lookup`, too."""
        if isinstance(paths, str | bytes):
            raise wrong_type("several paths", paths)
        self._view = view
        self.layers = view.layers
        self.chosen: set[str] = set()
        self.folders: list[ImageFile] = []
        self.links: list[ImageFile] = []
        self.nodes: list[ImageFile] = []
        self.others: dict[str, list[str]] = {}
        self._by_layer: dict[int, list[FileEntry]] = {}
        if paths is None:
            self._sort(view.everything())
            self.chosen.update(each.path for each in self.folders)
        else:
            along: dict[str, ImageFile] = {}
            found = {each.path: each for each in self._below(paths, along)}
            self.chosen.update(path for path, each in found.items() if each.entry.type == "directory")
            found = {**along, **found}
            self._sort(found.values())

    @property
    def files(self) -> Iterator[FileEntry]:
        """Regular files, each once."""
        return chain.from_iterable(self._by_layer.values())

    @property
    def size(self) -> int:
        """Bytes of the regular files."""
        return sum(map(attrgetter("size"), self.files))

    def __len__(self) -> int:
        """How many regular files there are."""
        return sum(map(len, self._by_layer.values()))

    def _below(self, paths: Sequence[str], found: dict[str, ImageFile]) -> Iterator[ImageFile]:
        """What the paths lead to, and all in it; ``found`` gets what comes along."""
        tops = set()
        for path in paths:
            way = self._view.way(path)
            found.update((each.path, each) for each in way)
            tops.add(way[-1].path)
            yield way[-1]
        if any(found[top].entry.type == "directory" for top in tops):
            for each in self._view.everything():
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
        for each in found:
            kind = each.entry.type
            if kind == "file":
                self._by_layer.setdefault(each.stored_in, []).append(each.entry)
            elif kind == "directory":
                self.folders.append(each)
            elif kind == "symlink":
                self.links.append(each)
            elif kind == "hardlink":
                raise NotFoundError(f"{each.path} is a hard link to {each.entry.link}, which is not there")
            else:
                self.nodes.append(each)
        self.folders.sort(key=attrgetter("path"))
        self.nodes.sort(key=attrgetter("path"))
        for layer, entries in self._by_layer.items():
            entries.sort(key=attrgetter("offset"))
            self._by_layer[layer] = self._each_once(entries)

    def _each_once(self, names: list[FileEntry]) -> list[FileEntry]:
        """The first of each file's names; the rest of them go to `others`."""
        files = names[:1]
        for each in names[1:]:
            if each.offset == files[-1].offset:
                self.others.setdefault(files[-1].path, []).append(each.path)
            else:
                files.append(each)
        return files

    def runs(self) -> Iterator[Run]:
        """Files that one thread reads, in the order of their bytes, out of one layer's tar.

        Those of a layer are one run, as its tar comes in one pass, and is then kept. Where any part can be
        read, or little is wanted of a tar with seek points, they are several, without what is between.
        """
        for layer, files in self._by_layer.items():
            if self.layers[layer].is_read_in_parts(sum(map(attrgetter("size"), files))):
                yield from _runs(layer, files)
            else:
                yield Run(layer, files, max(map(_end, files)), in_pass=True)


def _runs(layer: int, files: Sequence[FileEntry]) -> Iterator[Run]:
    first = size = end = 0
    for at, each in enumerate(files):
        if at > first and (size >= PART or at - first == FILES or each.offset - end > GAP):
            yield Run(layer, files[first:at], end)
            first, size, end = at, 0, 0
        size += each.size
        ends = each.offset + each.size if each.sparse is None else _end(each)  # a call less for each file
        end = max(end, ends)
    yield Run(layer, files[first:], end)


def _end(file: FileEntry) -> int:
    """Where its bytes end in the tar."""
    return file.offset + (file.size if file.sparse is None else sum(length for _, length in file.sparse))
