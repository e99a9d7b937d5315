"""The local backend's locks: ``flock`` on files in ``locks/``, which a killed process lets go of."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.errors import BackendError

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
    path: str, failure: Callable[[str, OSError], BackendError], *, timeout: float | None, lasting: bool
) -> Iterator[FileLock | None]:
    """Hold the file's lock inside the block; None where it was not to be had in time. Raises `OSError`.

    Each holder opens the file for itself, so that threads exclude each other too. The file may be removed by
    whoever holds it; who waited for it then takes the new one.
    """
    fd = _take(path, timeout)
    if fd is None:
        yield None
        return
    try:
        os.utime(fd)
        yield FileLock(fd, failure)
    finally:
        if not lasting:
            with suppress(FileNotFoundError):
                os.unlink(path)
        # A child that was forked meanwhile has a copy of the descriptor: closing ours would not let go.
        _unlock(fd)


def remove_if_unused(path: str) -> bool:
    """Remove a lock's file unless somebody holds it. Raises `OSError`."""
    fd = _take(path, 0)
    if fd is None:
        return False
    try:
        os.unlink(path)
    finally:
        _unlock(fd)
    return True


def _take(path: str, patience: float | None) -> int | None:
    # By trying again and again, since a blocking flock cannot be told when to give up.
    pause = _FIRST_PAUSE
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if _try(fd):
            if _is_named(fd, path):
                return fd
            _unlock(fd)  # removed between our opening and our locking it
            continue
        silent = _silent_for(fd)
        os.close(fd)
        if patience is not None and silent >= patience:
            return None
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


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


def _is_named(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
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
