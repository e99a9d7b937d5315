"""What the system knows of the files of a mount: their numbers, types, sizes, times."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.files.merged import ImageFile, ImageFiles
    from layercache.index.entry import FileEntry

ROOT = 1
"""The number of the root, as FUSE has it."""

NAME_MAX = 1024
"""Bytes of a name. Linux fails for the whole folder if FUSE lists a longer one (fs/fuse/fuse_i.h)."""

BLOCK = 4096

_FORMATS = {
    "file": stat.S_IFREG,
    "hardlink": stat.S_IFREG,  # of a layer alone, to a file that a lower layer has
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "character": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
}


class Inodes:
    """The files of a mount by path, and a number for each. Names of one file share its number.

    Reads the table of each layer when it is made, and does not change afterwards. ``left_out``: how many
    files have names that Linux cannot list.
    """

    def __init__(self, files: ImageFiles) -> None:
        self.files = files
        self._numbers: dict[str, int] = {"": ROOT}
        self._found: dict[str, ImageFile] = {"": files.lookup("")}
        self._links: dict[int, int] = {}
        self.left_out = 0
        self.size = 0
        known: dict[tuple[int, int], int] = {}
        for each in files:
            if each.entry.parent not in self._found or not _is_listable(each.entry.name):
                self.left_out += 1
                continue
            number = len(self._found) + ROOT
            if each.entry.type == "file":
                number = known.setdefault((each.stored_in, each.entry.offset), number)
                self.size += _stored(each.entry) if number > len(self._found) else 0
            self._found[each.path] = each
            self._numbers[each.path] = number
            # A folder is linked to by its own "." and by ".." of each folder in it.
            linked = self._numbers[each.entry.parent] if each.entry.type == "directory" else number
            self._links[linked] = self._links.get(linked, 0) + 1

    def __len__(self) -> int:
        return len(self._found)

    def get(self, path: str) -> ImageFile | None:
        """What is at a path; no link is followed."""
        return self._found.get(path)

    def listed(self, folder: str) -> Iterator[tuple[str, dict[str, int]]]:
        """What a folder lists, "." and ".." too: names, and number and type as in ``struct stat``."""
        yield ".", self._listed(folder)
        yield "..", self._listed(folder.rpartition("/")[0])
        for each in self.files.children(folder):
            if each.path in self._found:
                yield each.entry.name, self._listed(each.path)

    def _listed(self, path: str) -> dict[str, int]:
        return {"st_ino": self._numbers[path], "st_mode": _FORMATS[self._found[path].entry.type]}

    def attributes(self, file: ImageFile) -> dict[str, int]:
        """``struct stat`` of a file, times in nanoseconds."""
        entry, number = file.entry, self._numbers[file.path]
        is_folder = entry.type == "directory"
        mode = 0o777 if entry.type == "symlink" else entry.mode  # as Linux has it, whatever a tar says
        size = len(entry.link.encode("utf-8", "surrogateescape")) if entry.type == "symlink" else entry.size
        return {
            "st_ino": number,
            "st_mode": _FORMATS[entry.type] | mode,
            "st_nlink": self._links.get(number, 0) + (2 if is_folder else 0),
            "st_uid": entry.uid,
            "st_gid": entry.gid,
            "st_size": size,
            "st_blocks": -(-_stored(entry) // 512),
            "st_blksize": BLOCK,
            "st_rdev": os.makedev(*entry.device) if entry.device else 0,
            "st_atime": entry.mtime,
            "st_mtime": entry.mtime,
            "st_ctime": entry.mtime,
        }


def _stored(entry: FileEntry) -> int:
    """The bytes of a file without its holes."""
    return entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)


def _is_listable(name: str) -> bool:
    try:
        return len(name.encode("utf-8", "surrogateescape")) <= NAME_MAX and "\0" not in name
    except UnicodeEncodeError:
        return False
