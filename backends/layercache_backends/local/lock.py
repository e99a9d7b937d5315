"""The local backend's locks: ``flock`` on files in ``locks/``, released when the process is killed.

A lock's file is written to, so it must be a regular file without a second name: links are not followed, and a
file that somebody has linked there is not changed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache_backends.local.folders import NO_FILE, LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.errors import BackendError
    from layercache_backends.local.folders import Folder

    Failure = Callable[[str, OSError], BackendError]

FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.01  # seconds
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
"""How some network file systems refuse a lock; NFS has EBADF for a file that this user may only read."""

_LONGEST_NOTE = 4096


class FileLock:
    """A held lock, and its file, which contains the note. Not ``lasting``: it goes with the lock."""

    def __init__(self, fd: int, name: str, folder: Folder, failure: Failure, *, lasting: bool) -> None:
        self._fd = fd
        self._name = name
        self._folder = folder
        self._failure = failure
        self._lasting = lasting

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
            raise self._failure("writing a lock's note", error) from error

    def release(self) -> None:
        """Let others have it."""
        if not self._lasting:
            with suppress(FileNotFoundError, PermissionError):  # the name of another user's file stays
                os.unlink(self._name, dir_fd=self._folder.fd)
        # A child forked in between has a copy of the descriptor: closing ours would not release the lock.
        unlock(self._fd)


def take_lock(
    name: str,
    folder: Folder,
    failure: Failure,
    *,
    timeout: float | None,
    share: Callable[[int], object],
    lasting: bool = True,
) -> FileLock | None:
    """Take the file's lock, which is then to be released; None if it was not free in time. Raises `OSError`.

    Each holder opens the file separately, so that threads exclude each other too. The holder may remove the
    file; waiters then take the new one. ``share`` is called with the descriptor of a new file.
    """
    fd = _take(name, folder.fd, timeout, share)
    if fd is None:
        return None
    lock = FileLock(fd, name, folder, failure, lasting=lasting)
    try:
        os.utime(fd)
    except BaseException:
        lock.release()
        raise
    return lock


def remove_if_unused(name: str, folder: int) -> bool:
    """Remove a lock's file unless the lock is held. Raises `OSError`.

    That of the momentary locks stays, as its name is not a lock's.
    """
    if name.startswith("."):
        return False
    fd = _take(name, folder, 0, lambda _fd: None)
    if fd is None:
        return False
    try:
        os.unlink(name, dir_fd=folder)
    finally:
        unlock(fd)
    return True


def _take(name: str, folder: int, patience: float | None, share: Callable[[int], object]) -> int | None:
    # Polls, because a blocking flock has no timeout.
    pause = FIRST_PAUSE
    while True:
        fd = open_lock(name, folder, share)
        if try_lock(fd):
            if is_named(fd, name, folder):
                return fd
            unlock(fd)  # removed after we opened it and before we locked it
            continue
        silent = _silent_for(fd)
        os.close(fd)
        if patience is not None and silent >= patience:
            return None
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def open_lock(name: str, folder: int, share: Callable[[int], object]) -> int:
    """Open a lock's file; create it if it is missing. Raises `LinkError` for what is not a plain file."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            # Not with O_CREAT: in a sticky folder Linux refuses that for another user's file.
            fd = os.open(name, flags, dir_fd=folder)
        except FileNotFoundError:
            with suppress(FileExistsError):  # another process was faster, or there is a link
                fd = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
                share(fd)
                return fd
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
    return LinkError(errno.ELOOP, f"locks/{name} is a link or not a regular file")


def try_lock(fd: int) -> bool:
    """Take the lock of an open file unless it is held. Closes the file if it raises `OSError`."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return True  # continue without the lock: it only saves work, and protects a count
        os.close(fd)
        raise
    return True


def has_locks(fd: int) -> bool:
    """Whether the file system of an open file that nobody else has can lock it. Raises `OSError`."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _silent_for(fd: int) -> float:
    """Seconds since the holder took the lock or wrote a note."""
    return abs(time.time() - os.fstat(fd).st_mtime)  # from the future: a clock was set


def is_named(fd: int, name: str, folder: int) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def unlock(fd: int) -> None:
    """Release the lock of a file, and close it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    finally:
        os.close(fd)
