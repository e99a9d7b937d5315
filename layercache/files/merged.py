"""The files of an image: its layers' tables merged, as they would be on a disk."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from layercache.errors import NotAFileError, NotFoundError, did_you_mean, most_similar
from layercache.files.content import open_file
from layercache.files.direct_paths import DirectPaths
from layercache.files.merging import merge
from layercache.files.placed import MAX_LINKS, Placed
from layercache.index.entry import FileEntry
from layercache.value import Value, replace

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from layercache.files.layer_tar import LayerTar

NOTHING = "there is no"
"""How the reason begins why a path leads nowhere, if nothing has its name."""

AT_ONCE = 8
"""Tables that are read or made at the same time."""

NESTED = 16
"""Layers that are placed inside each other at most: each takes ten calls of the interpreter's stack."""


class _LowerFirstError(Exception):
    """A layer that has to be placed before those above it, which are begun again then."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class ImageFile(Value, frozen=True, gc=False):
    """One file, folder, link or device of an image.

    ``entry``: what it is; its ``path`` is the place in the image. A hard link is the file that it is another
    name of, under its own path; only one whose target is missing is still a ``hardlink``. ``layer``: the
    number of the layer that it is from, 0 for the lowest. ``stored_in``: the number of the layer whose tar
    has its bytes, another one only for a hard link to a file of a layer below. ``implied``: a folder that no
    layer has an entry of, but files in it.
    """

    entry: FileEntry
    layer: int
    stored_in: int
    implied: bool = False

    @property
    def path(self) -> str:
        """Its place in the image, without "/" at the start."""
        return self.entry.path


IMPLIED_ROOT = ImageFile(FileEntry("", "directory", mode=0o755), 0, 0, implied=True)
"""Of an image without an entry for its root."""


class ImageFiles:
    """The files of an image, or of one layer as if that were an image.

    Whiteouts and opaque folders are applied, and not shown. Symbolic links are followed inside the image: an
    absolute one begins at its root, and ".." ends there. A look-up reads the tables of the layers from the
    top one down, only until it has the answer; what lists files reads all of them.

    The lock guards what is made of the tables once: `_placed` and `_merged`. It is reentrant, because placing
    a layer may look into those below.
    """

    def __init__(self, layers: Sequence[LayerTar]) -> None:
        self.layers = layers
        """The tars, lowest first."""
        self._lock = threading.RLock()
        self._placed: dict[int, Placed] = {}
        self._merged: dict[str, ImageFile] | None = None
        self._children: dict[str, list[ImageFile]] | None = None
        self._looked = len(layers)  # from this layer on, tables were read if a tier has them
        self._ahead = 1  # how many of the next lower ones are read at once: 1, 2, 4 …

    def __iter__(self) -> Iterator[ImageFile]:
        """Everything in the image but its root, sorted so that a folder stands before what is in it."""
        merged = self._all()
        for path in sorted(merged, key=lambda path: path.replace("/", "\0")):
            if path:
                yield merged[path]

    def everything(self) -> Iterable[ImageFile]:
        """Everything in the image, its root too, in no order: sorting takes as long as merging."""
        merged = self._all()
        return merged.values() if "" in merged else (*merged.values(), IMPLIED_ROOT)

    def lookup(self, path: str, *, follow: bool = True) -> ImageFile:
        """What a path leads to; "" or "/" is the root. ``follow``: also a symbolic link at its end.

        Raises `NotFoundError`, with similar names as a hint, where nothing is there or links lead in a
        circle; to find that out and the hint, all tables are read.
        """
        found = self._walk(path, follow=follow)
        if isinstance(found, ImageFile):
            return found
        raise self._missing(path, found)

    def get(self, path: str, *, follow: bool = True) -> ImageFile | None:
        """As `lookup`; None where that raises `NotFoundError`."""
        found = self._walk(path, follow=follow)
        return found if isinstance(found, ImageFile) else None

    def children(self, path: str) -> list[ImageFile]:
        """What is in a folder, sorted by name. Raises `NotFoundError` and `NotAFileError` as `lookup`."""
        folder = self.lookup(path)
        if folder.entry.type != "directory":
            raise NotAFileError(f"{path} is not a folder")
        with self._lock:
            if self._children is None:
                self._children = {}
                for file in self:
                    self._children.setdefault(file.entry.parent, []).append(file)
            return self._children.get(folder.path, [])

    def open(self, path: str | ImageFile) -> io.BufferedReader:
        """The bytes of a regular file, which a path leads to or which was looked up.

        The stream is seekable; its holes are zeros. Read in order from its start, it gives the last bytes
        only if the file's sha256 is right. Raises `NotFoundError`, `NotAFileError` for a folder or a
        device, and as `Layer.uncompressed`, also while it is read.
        """
        file = self.lookup(path) if isinstance(path, str) else path
        entry = file.entry
        if entry.type == "hardlink":
            raise NotFoundError(
                f"{entry.path} is a hard link to {entry.link}, which is not there",
                hint="a layer may link to a file of a layer below: open it through its image",
            )
        if entry.type != "file":
            hint = _ways_into(entry.path) if entry.type == "directory" else ""
            raise NotAFileError(f"{entry.path or '/'} is not a file: it is a {entry.type}", hint=hint)
        return open_file(self.layers[file.stored_in], entry)

    def way(self, path: str) -> list[ImageFile]:
        """The symbolic links through which a path leads, in order, and at last what is there, maybe a link.

        Raises as `lookup`.
        """
        way: list[ImageFile] = []
        found = self._walk(path, follow=False, way=way)
        if isinstance(found, ImageFile):
            return [*way, found]
        raise self._missing(path, found)

    def _walk(self, path: str, *, follow: bool, way: list[ImageFile] | None = None) -> ImageFile | str:
        """What a path leads to, or why it leads nowhere. ``way`` gets the links on the way."""
        here, links, parts = "", 0, path.split("/")[::-1]
        while parts:
            part = parts.pop()
            if part in ("", ".", ".."):
                here = here.rpartition("/")[0] if part == ".." else here
                continue
            place = f"{here}/{part}" if here else part
            found = self.get_place(place)
            if found is None:
                return f"{NOTHING} {place}"
            if not any(parts) and not (follow and found.entry.type == "symlink"):
                return found
            if found.entry.type == "symlink":
                links += 1
                if way is not None:
                    way.append(found)
                if links > MAX_LINKS:
                    return f"it leads through more than {MAX_LINKS} symbolic links"
                here = "" if found.entry.link.startswith("/") else here
                parts += found.entry.link.split("/")[::-1]
            elif found.entry.type == "directory":
                here = place
            else:
                return f"{place} is not a folder"
        return self.get_place(here) or IMPLIED_ROOT

    def get_place(self, place: str) -> ImageFile | None:
        """What is at a place, which is a path that leads through no links; None for nothing."""
        if self._merged is not None:
            return self._merged.get(place)
        return self._find(place, len(self.layers))

    def places(self, number: int) -> Iterable[str]:
        """The places in the image of a layer's entries, those that are hidden too."""
        return self._layer(number).entries

    def _find(self, place: str, top: int, nested: int = 0) -> ImageFile | None:
        """What the layers below number ``top`` have at a place, once all of them are applied."""
        found = self._layer_of(place, top, nested)
        return None if found is None else self._file(place, *found)

    def _layer_of(self, place: str, top: int, nested: int = 0) -> tuple[int, Placed] | None:
        """The layer below number ``top`` whose entry is at a place: its number, and itself around there."""
        for number in reversed(range(top)):
            if number < self._looked:
                self._look_ahead(number)
            placed = self._around(place, number, nested)
            if place in placed.entries:
                return number, placed
            if placed.hides(place):
                return None
        return None

    def _around(self, place: str, number: int, nested: int) -> Placed:
        """A layer, as far as it decides what is at a place."""
        tar = self.layers[number]
        if number in self._placed or tar.placed is not None:
            return self._layer(number, nested)
        if (direct := tar.direct) is None:
            direct = tar.direct = DirectPaths(tar.table)
        return direct.around(place, is_lowest=not number) or self._layer(number, nested)

    def _layer(self, number: int, nested: int = 0) -> Placed:
        """A layer once it is placed. ``nested``: of how many layers above it that is a part."""
        waiting = [number]
        while (known := self._placed.get(number)) is None:
            try:
                self._place(waiting[-1], nested)
                waiting.pop()
            except _LowerFirstError as error:
                if nested:
                    raise
                waiting.append(error.number)
        return known

    def _place(self, number: int, nested: int) -> None:
        if nested > NESTED:
            raise _LowerFirstError(number)
        tar = self.layers[number]
        table = tar.table  # outside the lock: it may take a pass over the layer
        with self._lock:
            if number not in self._placed:
                placed = tar.placed or Placed(table, lambda place: self._entry_below(place, number, nested))
                if not placed.depends:
                    tar.placed = placed
                self._placed[number] = placed
                tar.direct = None  # for look-ups until now

    def _look_ahead(self, number: int) -> None:
        """Read what tiers have of the next tables at once, so that a deep file costs few round trips.

        Two threads may do so at the same time: then each table is read once, and too many are.
        """
        lowest = max(0, number + 1 - self._ahead)
        self._looked, self._ahead = lowest, min(2 * self._ahead, AT_ONCE)
        if lowest < number:
            self._at_once(lambda layer: layer.look(), self.layers[lowest : number + 1])

    def _entry_below(self, place: str, number: int, nested: int) -> FileEntry | None:
        found = self._find(place, number, nested + 1)
        return None if found is None else found.entry

    def _file(self, place: str, number: int, placed: Placed) -> ImageFile:
        """The entry of a place of a layer; of a hard link, the file that it is another name of."""
        entry = placed.entries[place]
        if entry.type != "hardlink":
            return ImageFile(entry, number, number, place in placed.implied)
        found, stored_in, target = entry, number, placed.linked[place]
        while isinstance(target, str) and (below := self._layer_of(target, stored_in)) is not None:
            lower, layer = below
            entry = layer.entries[target]
            if entry.type == "directory":
                break
            found, stored_in = entry, lower
            target = layer.linked.get(target, entry)
        if isinstance(target, FileEntry) and target.type != "directory":
            found = target
        return ImageFile(replace(found, path=place), number, stored_in)

    def _all(self) -> dict[str, ImageFile]:
        if self._merged is None:
            self.read_tables()
            with self._lock:
                layers = [self._layer(number) for number in range(len(self.layers))]
                self._merged = merge(
                    layers, ImageFile, lambda place, number: self._file(place, number, layers[number])
                )
        return self._merged

    def read_tables(self) -> None:
        """Read or make the tables of all layers, several at a time. Raises as `LayerTar.table`."""
        self._looked = 0
        self._at_once(lambda layer: layer.table, self.layers)

    def _at_once(self, read: Callable[[LayerTar], object], layers: Sequence[LayerTar]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(min(AT_ONCE, len(layers) or 1), thread_name_prefix="tables")
        try:
            list(pool.map(read, layers))
        finally:  # an interrupt does not wait for a registry that is silent
            pool.shutdown(wait=False, cancel_futures=True)

    def _missing(self, path: str, why: str) -> NotFoundError:
        hint = self._similar(path) if why.startswith(NOTHING) else ""
        if why == f"{NOTHING} {path.strip('/')}":
            return NotFoundError(f"{why} in the image", hint=hint)
        return NotFoundError(f"{path} is not in the image: {why}", hint=hint)

    def _similar(self, path: str) -> str:
        """A hint for a path that is not there: files of that name elsewhere, or similar names beside it.

        For a name alone, also similar names in any folder. Nothing for a link that leads nowhere: it is
        spelled as it should be.
        """
        if self.get(path, follow=False):
            return ""
        folder, _, name = path.strip("/").rpartition("/")
        if same := self._named(name)[:3]:
            return f"there is {', '.join(same)}"
        beside = self.get(folder)
        siblings = self.children(folder) if beside and beside.entry.type == "directory" else []
        hint = did_you_mean(name, [file.entry.name for file in siblings]).strip()
        if hint or folder:
            return hint
        meant = most_similar(name, {file.entry.name for file in self})
        return f"did you mean {', '.join(self._named(meant)[:3])}?" if meant else ""

    def _named(self, name: str) -> list[str]:
        """The paths of all that has this name in any folder."""
        return sorted(place for place in self._all() if place.rpartition("/")[2] == name)


def _ways_into(folder: str) -> str:
    """What to do with a folder, where a file was expected."""
    from shlex import quote

    below = quote(f"{folder}/")
    return f"layercache files IMAGE {below} lists it, layercache extract writes it to the disk"
