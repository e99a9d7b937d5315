"""The local backend's locks that leave nothing behind: ranges of bytes of one file, which stays.

A lock file for each layer would be an inode that is made and removed again. ext4 does not give out an inode
for a while after it was removed, and looks at each such inode again whenever it searches for a free one:
of 500 small layers, a third of the time. So a name's lock is one byte of a file that has nothing there
(``F_OFD_SETLK`` locks an offset, not what is stored at it), at an offset that is a hash of the name. Like
``flock``, such a lock belongs to the open file: threads exclude each other, and it ends with the process.

The file begins with the holders' signs of life: in each of its places, the time of the last one. Names that
share a place at most make each other's waiters wait longer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import sys
import time
from typing import TYPE_CHECKING

from layercache_backends.local.lock import FIRST_PAUSE, LONGEST_PAUSE, NO_LOCKS, open_lock, take_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache_backends.local.folders import Folder
    from layercache_backends.local.lock import Failure, FileLock

FILE = ".momentary"
"""The file of these locks in ``locks/``: the name of no lock, since it begins with a dot."""

PLACES = 512
SIGN = struct.Struct("<q")  # nanoseconds since the epoch

GRACE = 1.0
"""Seconds that every holder is waited for: it gives its first sign of life just after it got the lock."""

_FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid of 64-bit Linux
_SET_LOCK = getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" and sys.maxsize > 1 << 32 else None


class MomentaryLock:
    """A held lock. Nobody else ever sees its note, so it is kept in memory."""

    def __init__(self, fd: int, number: int, failure: Failure) -> None:
        self._fd = fd
        self._number = number
        self._failure = failure
        self._note = b""

    def note(self) -> bytes:
        return self._note

    def leave_note(self, note: bytes) -> None:
        self._note = note
        try:
            _give_sign(self._fd, self._number)
        except OSError as error:
            raise self._failure("writing a lock's note", error) from error

    def release(self) -> None:
        """Let others have it."""
        try:
            # A child forked in between has a copy of the descriptor: closing ours would not release the lock.
            _set_lock(self._fd, fcntl.F_UNLCK, self._number)
        finally:
            os.close(self._fd)


def take_momentary_lock(
    name: str,
    folder: Folder,
    failure: Failure,
    *,
    timeout: float | None,
    share: Callable[[int], object],
) -> MomentaryLock | FileLock | None:
    """As `take_lock`, of a lock that goes with its note. It has a file where ranges cannot be locked."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2
    fd, is_held = _open(folder, share), None
    if fd is not None:
        try:
            is_held = _take(fd, number, timeout)
        finally:
            if not is_held:
                os.close(fd)
    if fd is None or is_held is None:
        return take_lock(name, folder, failure, timeout=timeout, share=share, lasting=False)
    if not is_held:
        return None
    lock = MomentaryLock(fd, number, failure)
    try:
        _give_sign(fd, number)
    except BaseException:
        lock.release()
        raise
    return lock


def _open(folder: Folder, share: Callable[[int], object]) -> int | None:
    """Open the file of the locks; None if they are not supported, or it is another user's."""
    if _SET_LOCK is None:
        return None
    try:
        return open_lock(FILE, folder.fd, share)
    except PermissionError:
        return None


def _take(fd: int, number: int, patience: float | None) -> bool | None:
    """Wait for the lock; return whether it was free in time, None if the file system has no such locks."""
    began, pause = time.monotonic(), FIRST_PAUSE
    while True:
        try:
            _set_lock(fd, fcntl.F_WRLCK, number)
        except (BlockingIOError, PermissionError):
            waited = time.monotonic() - began
        except OSError as error:
            if error.errno in NO_LOCKS:
                return None
            raise
        else:
            return True
        if patience is not None and waited >= min(patience, GRACE) and _silent_for(fd, number) >= patience:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _set_lock(fd: int, kind: int, number: int) -> None:
    assert _SET_LOCK is not None, "no file was opened otherwise"
    fcntl.fcntl(fd, _SET_LOCK, _FLOCK.pack(kind, os.SEEK_SET, number, 1, 0))


def _give_sign(fd: int, number: int) -> None:
    os.pwrite(fd, SIGN.pack(time.time_ns()), number % PLACES * SIGN.size)


def _silent_for(fd: int, number: int) -> float:
    """Seconds since a holder took a lock of this place, or gave a sign of life."""
    data = os.pread(fd, SIGN.size, number % PLACES * SIGN.size)
    last = SIGN.unpack(data)[0] if len(data) == SIGN.size else 0
    return abs(time.time_ns() - last) / 1e9  # from the future: a clock was set
