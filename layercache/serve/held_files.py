"""Keeps files open for the server below, which opens each by its name some time after it is asked to send it.

By then the file may have been evicted; and where others can write to the cache's folder, a link may have
taken its place, which would send them any file of this machine. So the server gets the name by which the
system knows what is open here.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import OrderedDict
from typing import NamedTuple

MOST = 1024
"""Files that are open at a time; what is asked for besides is read in another way."""

SECONDS = 10.0
"""For which a file stays open after its name was given: far more than the server needs to open it."""

_NAMES = "/proc/self/fd"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Held(NamedTuple):
    """An open file, and until when it stays open (monotonic seconds)."""

    file: int
    until: float


class HeldFiles:
    """Thread-safe. The lock guards the dictionary, by path, device and number, least recently used first; and
    the timer that closes them: there is one while any is open.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, int, int], _Held] = OrderedDict()
        self._timer: threading.Timer | None = None
        self._has_names = os.path.isdir(_NAMES)

    def name(self, path: str, size: int) -> str | None:
        """A name that leads to the file of this size that is at a path now, and to nothing else for a while.

        None if there is none, or too many are open. Where the system has no such names, it is the path.
        """
        if not self._has_names:
            return path
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                return None
            key = path, found.st_dev, found.st_ino
            with self._lock:
                self._close_old()
                held = self._held.pop(key, None)
                file = self._opened(key) if held is None else held.file
                if file is None:
                    return None
                self._held[key] = _Held(file, time.monotonic() + SECONDS)
                self._close_later()
        except OSError:
            return None
        return f"{_NAMES}/{file}"

    def _opened(self, key: tuple[str, int, int]) -> int | None:
        if len(self._held) >= MOST:
            return None
        file = os.open(key[0], _FLAGS)
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != key[1:]:
            os.close(file)
            return None
        return file

    def _close_later(self) -> None:
        if self._timer is None and self._held:
            left = next(iter(self._held.values())).until - time.monotonic()
            self._timer = threading.Timer(max(left, 0.0) + 0.1, self._close_in_time)
            self._timer.daemon = True
            self._timer.start()

    def _close_in_time(self) -> None:
        with self._lock:
            self._timer = None
            self._close_old()
            self._close_later()

    def _close_old(self) -> None:
        now = time.monotonic()
        while self._held and (oldest := next(iter(self._held.values()))).until < now:
            self._held.popitem(last=False)
            os.close(oldest.file)

    def close(self) -> None:
        """Close all of them, once nothing is sent any more."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            while self._held:
                os.close(self._held.popitem()[1].file)
