"""The local backend's folders, opened one below the other: every operation on a name uses its open folder.

In a cache that several users write to, any of them can put a link where a folder or a file should be. With
paths, they could have another user's files overwritten, deleted or moved. So a folder below the root is
opened by its name in its open parent (``openat`` with ``O_NOFOLLOW``), and a link in its place is an error.
The root may be a link, or be below one, because the user chose it.

Folders stay open, which makes a look-up cheaper than by path, and ignores links that are put there later.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.errors import BackendError, NotFoundError

_T = TypeVar("_T")

KEPT = 64
"""Maximum number of folders that stay open."""

DEPTH = 4
"""Depth below the root from which folders do not stay open: they are many, and seldom used twice."""

LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags to open a file that may be something else: do not follow a link, do not wait for a pipe."""

RESERVED = frozenset({"tmp", "locks"})
"""Folders of the root that are not keys. A key that begins with one is an `InvalidNameError`."""

_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_GONE = (errno.ENOENT, errno.ESTALE)
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What is raised where no object has a name."""

NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENODEV)
"""Errors of opening a link, a socket, or a device without a driver."""


_GROUP_SHARES = stat.S_ISGID | stat.S_IWGRP
"""The mode of a folder that its group shares: what is created below belongs to the group, too."""

_SHARED_FOLDER = stat.S_ISGID | stat.S_IRWXG
_SHARED_FILE = stat.S_IRGRP | stat.S_IWGRP


class LinkError(NotADirectoryError):
    """A link is in the place of a regular file or folder."""


class Folder:
    """An open folder, closed when the last reference to it is gone, so never while it is in use."""

    __slots__ = ("_identity", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._identity: tuple[int, int] | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        if self._identity is None:
            status = os.fstat(self.fd)
            self._identity = (status.st_dev, status.st_ino)
        return self._identity

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        _close(self.fd)


class Folders:
    """The folders below a root, by their paths relative to it; the root's own path is empty.

    ``shared``: what is created is for the group of the root, as with Git's ``core.sharedRepository=group``;
    it always is where the root is a setgid folder that its group may write to.

    Every method raises `OSError`, and `NotADirectoryError` if something else has a folder's name.
    Thread-safe, and usable in a forked child.
    """

    def __init__(self, root: str, *, shared: bool = False) -> None:
        self._root = root
        self._kept: dict[str, Folder] = {}
        self._wanted = shared
        self._shared: bool | None = None

    def at(self, path: str, act: Callable[[str, int], _T]) -> _T:
        """Call ``act`` with the last part of a path and its folder's descriptor."""
        above, _, name = path.rpartition("/")
        folder = self._kept.get(above) or self._enter(above)
        try:
            return act(name, folder.fd)
        except OSError as error:
            # The whole cache may have been removed and created again. A folder that was only renamed is used
            # until something is written (`_made`): checking its path would double the cost of a miss.
            if error.errno not in _GONE or not _is_removed(folder):
                raise
        self.close()
        return act(name, self._enter(above).fd)

    def inside(self, path: str, act: Callable[[Folder], _T], *, sync: bool) -> _T:
        """Call ``act`` with a folder, which is created if it is missing. ``sync``: durably."""
        folder = self._kept.get(path)
        try:
            if folder is not None and self._is_current(path, folder):
                return act(folder)
            return act(self._made(path, sync=sync))
        except FileNotFoundError:  # it was removed in between
            return act(self._made(path, sync=sync))

    def beside(self, path: str, act: Callable[[Folder], _T], *, sync: bool) -> _T:
        """As `inside`, for what gets its name elsewhere: a folder that was moved away since is used."""
        try:
            return act(self._enter(path))
        except FileNotFoundError:
            return self.inside(path, act, sync=sync)

    def listed(self, path: str) -> int:
        """Return a new descriptor of a folder, for listing; the caller closes it."""
        return self.at(path, open_folder) if path else os.open(self._root, LIST & ~os.O_NOFOLLOW)

    def share(self, fd: int) -> None:
        """Give the group its rights to a file that was just created, whatever the umask took away."""
        if self._is_shared():
            _add_mode(fd, _SHARED_FILE)

    def close(self) -> None:
        """Close all folders. They are opened again when used."""
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
        if path.count("/") < DEPTH:  # below, most folders are created by the only write to them
            with suppress(FileNotFoundError):
                folder = self._enter(path)
                if not self._is_current(path, folder):
                    self.close()
                    folder = self._enter(path)
                return folder
        if not path:
            _make_root(self._root, sync=sync, shared=self._wanted)
            return self._enter(path)
        above, _, name = path.rpartition("/")
        parent = self._made(above, sync=sync)
        shared = self._is_shared()  # which makes the root a setgid folder, so that its group goes down
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(name, dir_fd=parent.fd)
            if shared:
                _share_folder(open_folder(name, parent.fd))
            if sync:
                sync_folder(parent.fd)
        return self._enter(path)

    def _is_shared(self) -> bool:
        if self._shared is None:
            mode = os.fstat(self._enter("").fd).st_mode
            if self._wanted and mode & _GROUP_SHARES != _GROUP_SHARES:
                _share_folder(os.open(self._root, LIST & ~os.O_NOFOLLOW))
            self._shared = self._wanted or mode & _GROUP_SHARES == _GROUP_SHARES
        return self._shared

    def _is_current(self, path: str, folder: Folder) -> bool:
        """Whether an open folder is still the one at this path."""
        try:
            status = os.stat(f"{self._root}/{path}")
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == folder.identity


def open_folder(name: str, folder: int, flags: int = LIST) -> int:
    """Open a folder in another one. Raises `LinkError` for a link."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and _is_link(name, folder):
            raise LinkError(errno.ENOTDIR, f"{name} is a symbolic link, which is not followed") from error
        raise


def open_plain(name: str, folder: int, access: int = os.O_RDONLY) -> tuple[int, os.stat_result]:
    """Open a regular file, with its status. Raises `FileNotFoundError` for anything else."""
    try:
        fd = os.open(name, PLAIN | access, dir_fd=folder)
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
    """Return a regular file's status. Raises `FileNotFoundError` for anything else."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "no plain file", name)
    return status


def sync_folder(folder: int) -> None:
    """Wait until the folder's names are on the disk."""
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


def _make_root(path: str, *, sync: bool, shared: bool) -> None:
    """Create a folder and its missing parents, each shared as its parent is; ``shared``: anyway."""
    above = os.path.dirname(path)
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_root(above, sync=sync, shared=False)
        with suppress(FileExistsError):
            os.mkdir(path)
    if shared or os.stat(above).st_mode & _GROUP_SHARES == _GROUP_SHARES:
        # It is new: a link there was put by another member of the group, and may lead to what is ours alone.
        _share_folder(os.open(path, LIST))
    if sync:
        fd = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync_folder(fd)
        finally:
            os.close(fd)


def _share_folder(fd: int) -> None:
    """Give the group its rights to a folder, and close its descriptor."""
    try:
        _add_mode(fd, _SHARED_FOLDER)
    finally:
        os.close(fd)


def _add_mode(fd: int, more: int) -> None:
    """Add to the mode of what is ours: another user can put something else in the place of a new folder."""
    status = os.fstat(fd)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.geteuid() and mode | more != mode:
        os.fchmod(fd, mode | more)


class Store(Protocol):
    """The part of the backend that its readers and spools use."""

    url: str
    folders: Folders
    unnamed_files: bool | None

    def failure(self, doing: str, error: OSError) -> BackendError: ...

    def check_object(self, key: str) -> None: ...

    def not_found(self, key: str) -> NotFoundError: ...
