"""Where the entries of one layer belong in an image, and what they hide of the layers below.

A tar names its entries by paths. Where such a path leads through a symbolic link, of this layer or of one
below, the entry belongs where the link points to, inside the image, as containerd and umoci apply layers. The
image-spec leaves more open, which is decided as umoci does: a folder that no entry names is made, with mode
755; a file in the place of a folder on the way is replaced; a hard link is the file as it was when it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import FormatError, LimitError
from layercache.index.entry import OPAQUE, WHITEOUT, FileEntry
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_LINKS = 40
"""Symbolic links that one path may lead through, as in Linux (path_resolution(7))."""

MAX_PATH = 4096
"""Characters of a path at most, as in Linux (PATH_MAX): a runtime could not unpack a longer one."""

MAX_DEPTH = 256
"""Folders that one path may be in. The deepest trees of packages have some 60."""

STEPS = 1_000_000
STEPS_OF_ENTRY = 20
"""Parts of paths that are followed in one layer: so many, and so many for each entry. Links of links can
make each path of a tar 80,000 parts long. A step further down counts for more: it takes more time and memory.
"""

AUFS = ".wh..wh."
"""Prefix of what AUFS keeps for itself, except the mark of an opaque folder: not part of the image."""


class Placed:
    """One layer's entries by their places in the image.

    ``entries``: the last entry of each place, no whiteouts. ``linked``: for each hard link, the entry of this
    layer that it is another name of, or else the place where the layers below have it. ``implied``: folders
    that no entry names. Nothing changes once it is made, so threads may share it.
    """

    def __init__(self, table: Iterable[FileEntry], below: Callable[[str], FileEntry | None]) -> None:
        """``below`` returns what the layers below have at a place."""
        self.entries: dict[str, FileEntry] = {}
        self.linked: dict[str, FileEntry | str] = {}
        self.implied: set[str] = set()
        self.whiteouts: set[str] = set()
        self.opaque: set[str] = set()
        applied = _Applied(self, below)
        applied.add_all(table)
        applied.keep_borrowed()
        self.depends = applied.looked_below
        """Whether another layer below could make any of this different."""

    def hides(self, place: str) -> bool:
        """Whether what the layers below have at this place is not in the image, as long as this layer has
        nothing there itself.
        """
        if place in self.whiteouts:
            return True
        while place:
            place = place.rpartition("/")[0]
            if place in self.whiteouts or place in self.opaque:
                return True
            entry = self.entries.get(place)
            if entry is not None and entry.type != "directory":
                return True
        return False


class _Applied:
    """A layer while its entries are applied, one after the other, to what the layers below have."""

    def __init__(self, placed: Placed, below: Callable[[str], FileEntry | None]) -> None:
        self._placed = placed
        self._entries = placed.entries
        self._below = below
        self._folders = {"": ""}  # of paths that were followed: the folder's place
        self._followed: set[str] = set()  # the symbolic links on their way, and the folders above these
        self._borrowed: dict[str, FileEntry] = {}  # folders of the layers below in which this one has files
        self._children: dict[str, set[str]] | None = None  # by folder, from the first time it is needed
        self._steps_left = STEPS
        self.looked_below = False

    def add_all(self, table: Iterable[FileEntry]) -> None:
        """Apply the entries in order. What is new in a folder that was met before needs no `_add`."""
        entries, borrowed, ordinary = self._entries, self._borrowed, 0
        for entry in table:
            path = entry.path
            parent, _, name = path.rpartition("/")
            if (
                self._folders.get(parent) != parent
                or path in entries
                or path in borrowed
                or path in self._followed
                or self._children is not None
                or entry.type == "hardlink"
                or not name
                or name.startswith(WHITEOUT)
                or len(path) > MAX_DEPTH  # so it cannot be too long either, nor too deep
                or len(entry.link) > MAX_PATH
            ):
                self._steps_left += STEPS_OF_ENTRY * ordinary
                ordinary = 0
                self._add(entry)
                continue
            entries[path] = entry
            ordinary += 1
            if entry.type == "directory":
                self._folders[path] = path

    def _add(self, entry: FileEntry) -> None:
        path = entry.path
        if len(path) > MAX_PATH or len(entry.link) > MAX_PATH:
            long = max(path, entry.link, key=len)
            raise FormatError(f"a path in the tar has {len(long)} characters: {long[:40]}…")
        if path.count("/") > MAX_DEPTH:
            raise FormatError(f"a path in the tar is {path.count('/')} folders deep: {path[:40]}…")
        self._steps_left += STEPS_OF_ENTRY
        parent, _, name = path.rpartition("/")
        if name.startswith(WHITEOUT):
            self._add_mark(parent, name)
        elif not path:
            if entry.type != "directory":
                raise FormatError(f"the tar has a {entry.type} as its root")
            self._entries[""] = entry
        elif not path.startswith(AUFS):
            folder = self._folders.get(parent)
            if folder is None:
                folder = self._follow(parent, make=True)
            place = f"{folder}/{name}" if folder else name
            self._put(place, entry if place == path else replace(entry, path=place))
            if entry.type == "directory":
                self._folders[path] = place

    def keep_borrowed(self) -> None:
        """A folder in which this layer has files is there, also where this layer hides it."""
        for place, entry in self._borrowed.items():
            if place not in self._entries and self._placed.hides(place):
                self._entries[place] = entry

    def _add_mark(self, parent: str, name: str) -> None:
        if name.startswith(AUFS) and name != OPAQUE:
            return
        folder = self._follow(parent, make=False)
        if name == OPAQUE:
            self._placed.opaque.add(folder)
        elif (hidden := name.removeprefix(WHITEOUT)) in ("", ".", ".."):
            raise FormatError(f"a whiteout in the tar names no file: {parent[:80]}/{name}")
        else:
            self._placed.whiteouts.add(_join(folder, hidden))
        if self._followed:
            self._forget_ways()  # one of the links may be hidden now

    def _put(self, place: str, entry: FileEntry) -> None:
        before = self._entries.get(place)
        if entry.type != "directory":
            target = self._target(entry.link, place) if entry.type == "hardlink" else None
            if place in self._borrowed or (before is not None and before.type == "directory"):
                self._empty(place)
            self._placed.linked.pop(place, None)
            if target is not None:
                self._placed.linked[place] = target
        elif before is not None:
            self._placed.linked.pop(place, None)
            self._placed.implied.discard(place)
            if before.type != "directory":
                self._placed.opaque.add(place)  # what was below it went when it was no folder
        if place in self._followed:
            self._forget_ways()
        self._entries[place] = entry
        if self._children is not None:
            self._children.setdefault(place.rpartition("/")[0], set()).add(place)

    def _target(self, path: str, link: str) -> FileEntry | str:
        """Whose other name the hard link at the place ``link`` is."""
        folder, _, name = path.rpartition("/")
        place = _join(self._follow(folder, make=False), name)
        entry = self._entries.get(place)
        if f"{place}/".startswith(f"{link}/") or (entry is None and self._placed.hides(place)):
            return ""  # replaced by the link, or hidden before it came: the root stands for no file
        return place if entry is None else self._placed.linked.get(place, entry)

    def _empty(self, folder: str) -> None:
        """Forget what this layer has in a folder that is replaced. Each entry is forgotten once at most."""
        if self._children is None:
            self._children = {}
            for place in (*self._entries, *self._borrowed):
                self._children.setdefault(place.rpartition("/")[0], set()).add(place)
        self._forget_ways()
        left = [folder]
        while left:
            place = left.pop()
            left.extend(self._children.pop(place, ()))
            self._entries.pop(place, None)
            self._borrowed.pop(place, None)
            self._placed.linked.pop(place, None)
            self._placed.implied.discard(place)

    def _forget_ways(self) -> None:
        self._folders = {"": ""}
        self._followed = set()

    def _follow(self, path: str, *, make: bool) -> str:
        """The place of the folder to which a path leads. ``make``: make it if there is none."""
        if (known := self._folders.get(path)) is not None:
            return known
        here, parts, followed = "", path.split("/")[::-1], []
        while parts:
            part = parts.pop()
            self._steps_left -= 1 + len(here) // 16
            if self._steps_left < 0:
                raise LimitError(f"paths or links in the tar are too many steps long, at {path[:40]}")
            if len(here) > MAX_PATH:
                raise FormatError(f"a link in the tar makes a path too long: {here[:40]}…")
            if part in ("", ".", ".."):
                here = here.rpartition("/")[0] if part == ".." else here
                continue
            place = _join(here, part)
            entry = self._look(place)
            if entry is not None and entry.type == "symlink":
                followed.append(place)
                if len(followed) > MAX_LINKS:
                    raise FormatError(f"the path {path} leads through more than {MAX_LINKS} symbolic links")
                here = "" if entry.link.startswith("/") else here
                parts += entry.link.split("/")[::-1]
                continue
            here = place
        if make:
            self._make(here)
            self._folders[path] = here
            for link in followed:
                self._followed.update(_with_folders(link))
        return here

    def _make(self, folder: str) -> None:
        """See to it that this place is a folder, and every place above."""
        parts = folder.split("/") if folder else []
        for count in range(len(parts)):
            place = "/".join(parts[: count + 1])
            entry = self._look(place)
            if entry is None or entry.type != "directory":
                self._put(place, FileEntry(place, "directory", mode=0o755))
                self._placed.implied.add(place)
            elif place not in self._entries:
                self._borrowed[place] = entry
                if self._children is not None:
                    self._children.setdefault(place.rpartition("/")[0], set()).add(place)

    def _look(self, place: str) -> FileEntry | None:
        """What is at a place once the entries so far are applied."""
        entry = self._entries.get(place) or self._borrowed.get(place)
        if entry is None:
            return None if self._placed.hides(place) else self._ask_below(place)
        if entry.type != "hardlink":
            return entry
        target = self._placed.linked[place]
        linked = target if isinstance(target, FileEntry) else self._ask_below(target)
        return linked if linked is not None and linked.type == "symlink" else entry

    def _ask_below(self, place: str) -> FileEntry | None:
        self.looked_below = True
        return self._below(place)


def _with_folders(place: str) -> Iterator[str]:
    """A place, and the folders above it."""
    while place:
        yield place
        place = place.rpartition("/")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
