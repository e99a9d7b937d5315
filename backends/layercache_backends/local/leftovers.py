"""Leftovers of killed processes in a local store: files of unfinished writes, and lock files."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend import Leftover
from layercache_backends.local.folders import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache_backends.local.folders import Folders

_UNFINISHED = re.compile(r"[0-9]+-[0-9A-Za-z]+")
"""The names of unfinished writes. Other files in tmp/ are never removed."""


def removed(folders: Folders, path: str, remove: Callable[[str, int], bool], older_than: float) -> int:
    """Remove files that have not been written to for this many seconds; return how many. Raises `OSError`."""
    count = 0
    for name, folder, status in _files(folders, path):
        # Another user's files stay; in a sticky folder we may not remove them.
        with suppress(FileNotFoundError, PermissionError, LinkError):
            if _is_old(name, folder, status, older_than):
                count += remove(name, folder)
    return count


def unfinished(folders: Folders) -> list[Leftover]:
    """Yield the files of unfinished writes. Raises `OSError`."""
    return [
        Leftover(status.st_mtime, status.st_size)
        for name, _, status in _files(folders, "tmp")
        if _UNFINISHED.fullmatch(name)
    ]


def remove_unfinished(name: str, folder: int) -> bool:
    if not _UNFINISHED.fullmatch(name):
        return False
    os.unlink(name, dir_fd=folder)
    return True


def _files(folders: Folders, path: str) -> Iterator[tuple[str, int, os.stat_result]]:
    """Yield each regular file of a folder: its name, the folder's descriptor, its status."""
    folder = folders.listed(path)
    try:
        with os.scandir(folder) as items:
            for item in items:
                with suppress(FileNotFoundError, PermissionError):
                    status = item.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield item.name, folder, status
    finally:
        os.close(folder)


def _is_old(name: str, folder: int, status: os.stat_result, older_than: float) -> bool:
    age = time.time() - status.st_mtime
    if age < 0:  # a clock was wrong: set the time to now, and count from there
        os.utime(name, dir_fd=folder, follow_symlinks=False)
    return max(age, 0) >= older_than
