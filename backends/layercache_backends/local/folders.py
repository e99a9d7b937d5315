"""The local backend's folders, opened one below the other: what is done to a name is done in an open folder.

In a cache that several users write to, any of them can put a link where a folder or a file should be. By path
one of them would have another's files overwritten, cleared or moved away. So a folder below the root is
entered by its name alone (``openat`` with ``O_NOFOLLOW``), and a link in its place is no folder. The root
itself may be a link, or lie below one: whoever named it chose it.

Open folders are kept, which makes a look-up cheaper than by path, and takes no link that is put there later.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.errors import BackendError

_T = TypeVar("_T")

KEPT = 64
"""Open folders that are kept at most."""

DEPTH = 4
"""Folders below the root from which on none is kept: they are many, and each is seldom wanted twice."""

LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""To open a file that may be something else: a link is not followed, a pipe not waited for."""

_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_GONE = (errno.ENOENT, errno.ESTALE)
NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENODEV)
"""What opening a link, a socket or a device without a driver fails with."""


class LinkError(NotADirectoryError):
    """Something stands in a place where a plain file or folder should be, and leads elsewhere."""


class Folder:
    """An open folder. It is closed when nobody has it any more, so never under somebody's hands."""

    __slots__ = ("fd", "identity")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        _close(self.fd)


class Folders:
    """The folders below a root, by their paths relative to it; the root's own path is empty.

    Every method raises `OSError`: `NotADirectoryError` where something else has a folder's name. Thread-safe,
    and of use in a forked child too.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._kept: dict[str, Folder] = {}

    def at(self, path: str, act: Callable[[str, int], _T]) -> _T:
        """Do something to the last part of a path: ``act`` gets the name and its folder's descriptor."""
        above, _, name = path.rpartition("/")
        folder = self._enter(above)
        try:
            return act(name, folder.fd)
        except OSError as error:
            # Somebody may have removed the whole cache and begun another one. A folder that was only renamed
            # serves on, until something is written (`_made`): to look at its path would double a miss's cost.
            if error.errno not in _GONE or not _is_removed(folder):
                raise
        self.close()
        return act(name, self._enter(above).fd)

    def inside(self, path: str, act: Callable[[Folder], _T], *, sync: bool) -> _T:
        """Write something into a folder, which is made where it is missing. ``sync``: durably."""
        try:
            return act(self._made(path, sync=sync))
        except FileNotFoundError:  # removed under our hands
            return act(self._made(path, sync=sync))

    def listed(self, path: str) -> int:
        """A descriptor of a folder to list it by, for the caller to close."""
        return self.at(path, open_folder) if path else os.open(self._root, LIST & ~os.O_NOFOLLOW)

    def close(self) -> None:
        """Keep none open. Another use opens them again."""
        self._kept = {}

    def _enter(self, path: str) -> Folder:
        folder = self._kept.get(path)
        if folder is None:
            fd = self.at(path, _entered) if path else os.open(self._root, _ENTER)
            folder = Folder(fd)
            if path.count("/") < DEPTH:
                if len(self._kept) >= KEPT:
                    self.close()
                self._kept[path] = folder
        return folder

    def _made(self, path: str, *, sync: bool) -> Folder:
        with suppress(FileNotFoundError):
            folder = self._enter(path)
            if not self._is_current(path, folder):
                self.close()
                folder = self._enter(path)
            return folder
        if not path:
            _make_root(self._root, sync=sync)
            return self._enter(path)
        above, _, name = path.rpartition("/")
        parent = self._made(above, sync=sync)
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(name, dir_fd=parent.fd)
            if sync:
                sync_folder(parent.fd)
        return self._enter(path)

    def _is_current(self, path: str, folder: Folder) -> bool:
        """Whether an open folder is still the one that has this path."""
        try:
            status = os.stat(f"{self._root}/{path}")
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == folder.identity


def open_folder(name: str, folder: int, flags: int = LIST) -> int:
    """A folder in another one. Raises `LinkError` for a link."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and _is_link(name, folder):
            raise LinkError(errno.ENOTDIR, f"{name} is a symbolic link, which is not followed") from error
        raise


def open_plain(name: str, folder: int) -> tuple[int, os.stat_result]:
    """A plain file to read, and its status. What stands there and is none is absent: `FileNotFoundError`."""
    try:
        fd = os.open(name, PLAIN, dir_fd=folder)
    except OSError as error:
        if error.errno in NO_FILE:
            raise FileNotFoundError(errno.ENOENT, "no plain file", name) from error
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "no plain file", name)
    return fd, status


def look(name: str, folder: int) -> os.stat_result:
    """A plain file's status; else `FileNotFoundError`."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "no plain file", name)
    return status


def sync_folder(folder: int) -> None:
    """Wait until the disk has the folder's names."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync no folders
            raise
    finally:
        os.close(fd)


def _entered(name: str, folder: int) -> int:
    return open_folder(name, folder, _ENTER | os.O_NOFOLLOW)


def _is_removed(folder: Folder) -> bool:
    try:
        return os.fstat(folder.fd).st_nlink == 0
    except OSError:  # as network file systems have it
        return True


def _is_link(name: str, folder: int) -> bool:
    with suppress(OSError):
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _make_root(path: str, *, sync: bool) -> None:
    """Make a folder and what is missing above it."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_root(os.path.dirname(path), sync=sync)
        with suppress(FileExistsError):
            os.mkdir(path)
    if sync:
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync_folder(fd)
        finally:
            os.close(fd)


class Store(Protocol):
    """What a reader or a spool needs to know of the backend that it is of."""

    url: str
    folders: Folders
    unnamed_files: bool | None

    def failure(self, doing: str, error: OSError) -> BackendError: ...

    def check_object(self, key: str) -> None: ...
