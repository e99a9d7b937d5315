"""The local backend's locks: ``flock`` on files in ``locks/``, which a killed process lets go of.

A lock's file is written to, so it must be a plain file that has no other name: no link is followed, and what
somebody has linked in its place stays as it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from layercache_backends.local.folders import NO_FILE, LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.errors import BackendError
    from layercache_backends.local.folders import Folder

_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.01  # seconds
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # some network file systems
_LONGEST_NOTE = 4096


class FileLock:
    """A lock that is held, and its file, in which the note stands."""

    def __init__(self, fd: int, failure: Callable[[str, OSError], BackendError]) -> None:
        self._fd = fd
        self._failure = failure

    def note(self) -> bytes:
        try:
            return os.pread(self._fd, _LONGEST_NOTE, 0)
        except OSError as error:
            raise self._failure("reading a lock's note", error) from error

    def leave_note(self, note: bytes) -> None:
        try:
            os.pwrite(self._fd, note, 0)
            os.ftruncate(self._fd, len(note))
            os.utime(self._fd)
        except OSError as error:
            raise self._failure("leaving a note in a lock", error) from error


@contextmanager
def locked(
    name: str,
    folder: Folder,
    failure: Callable[[str, OSError], BackendError],
    *,
    timeout: float | None,
    lasting: bool,
) -> Iterator[FileLock | None]:
    """Hold the file's lock inside the block; None where it was not to be had in time. Raises `OSError`.

    Each holder opens the file for itself, so that threads exclude each other too. The file may be removed by
    whoever holds it; who waited for it then takes the new one.
    """
    fd = _take(name, folder.fd, timeout)
    if fd is None:
        yield None
        return
    try:
        os.utime(fd)
        yield FileLock(fd, failure)
    finally:
        if not lasting:
            with suppress(FileNotFoundError, PermissionError):  # of another user's, the name stays
                os.unlink(name, dir_fd=folder.fd)
        # A child that was forked meanwhile has a copy of the descriptor: closing ours would not let go.
        _unlock(fd)


def remove_if_unused(name: str, folder: int) -> bool:
    """Remove a lock's file unless somebody holds it. Raises `OSError`."""
    fd = _take(name, folder, 0)
    if fd is None:
        return False
    try:
        os.unlink(name, dir_fd=folder)
    finally:
        _unlock(fd)
    return True


def _take(name: str, folder: int, patience: float | None) -> int | None:
    # By trying again and again, since a blocking flock cannot be told when to give up.
    pause = _FIRST_PAUSE
    while True:
        fd = _open(name, folder)
        if _try(fd):
            if _is_named(fd, name, folder):
                return fd
            _unlock(fd)  # removed between our opening and our locking it
            continue
        silent = _silent_for(fd)
        os.close(fd)
        if patience is not None and silent >= patience:
            return None
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _open(name: str, folder: int) -> int:
    """A lock's file; it is made where it is missing."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            # Not with O_CREAT: in a sticky folder Linux refuses that for another user's file.
            fd = os.open(name, flags, dir_fd=folder)
        except FileNotFoundError:
            with suppress(FileExistsError):  # another process was faster, or there is a link
                return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
            continue
        except OSError as error:
            if error.errno in NO_FILE:
                raise _no_lock(name) from error
            raise
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
            return fd
        os.close(fd)
        raise _no_lock(name)


def _no_lock(name: str) -> LinkError:
    return LinkError(errno.ELOOP, f"locks/{name} is a link, or no plain file")


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True  # nobody is kept out: what hangs on it is saved work, and a count
        os.close(fd)
        raise
    return True


def _silent_for(fd: int) -> float:
    """Seconds since the holder took the lock or left a note in it."""
    return abs(time.time() - os.fstat(fd).st_mtime)  # from the future: a clock was set


def _is_named(fd: int, name: str, folder: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _unlock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    finally:
        os.close(fd)
