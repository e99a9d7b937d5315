"""The file of totals: processes append a line each, and it is compacted when it has grown.

Losing it, or lines of it, is harmless. So there is no fsync, no lock and no waiting, a line that cannot be
read is skipped, and nothing that fails here is an error for the program.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from layercache.oci.descriptor import NOT_VALID
from layercache.statistics.counters import Counters
from layercache.statistics.totals import DAYS, Day, compacted
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable

COMPACT_FROM = 256 << 10
"""Bytes from which the file is compacted, to half as many at most."""

SIZE_MAX = 4 << 20
"""Bytes that are read, and beyond which nothing is appended: compacting has failed each time."""

STALE = 3600.0
"""Seconds after which a compaction that has not ended counts as killed."""

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW  # a pipe that somebody put there must not block


def read(path: str) -> list[Day]:
    """Every line, oldest first; empty if there is no file, or none that can be read."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | _FLAGS)
        with open(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return list(_parsed(file.read(SIZE_MAX)))
    return []


def remove(path: str) -> bool:
    """Forget everything; whether there was anything. Raises `OSError`."""
    try:
        os.remove(path)
    except FileNotFoundError:
        return False
    return True


class Recorder:
    """Adds what one cache has done to the file at ``path``, if there is to be one. Thread-safe.

    A forked child records nothing: what its parent has done would be counted twice.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._process = os.getpid()
        self._recorded = Counters()
        # Guards what was recorded, so that a cache that is closed by two threads counts once.
        self._lock = threading.Lock()

    def record(self, now: Counters) -> None:
        """Append what was done since the last call: one line, and nothing if nothing was done."""
        if self._path is None or os.getpid() != self._process:
            return
        with self._lock:
            done, self._recorded = now - self._recorded, now
        if done.places or done.inflated:
            day = time.strftime("%Y-%m-%d", time.gmtime())
            with suppress(OSError, ValueError):  # a name may have no UTF-8
                _append(self._path, msgspec.json.encode(Day.of(day, done)) + b"\n")


def _append(path: str, line: bytes) -> None:
    if not _is_ours(os.path.dirname(path)):
        return
    try:
        fd = _open_to_append(path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = _open_to_append(path)
    try:
        found = os.fstat(fd)
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
        if is_ours and found.st_size <= SIZE_MAX:
            os.write(fd, line)
            if found.st_size > COMPACT_FROM:
                _compact(path)
    finally:
        os.close(fd)


def _open_to_append(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)


def _is_ours(folder: str) -> bool:
    """Whether a file made here would belong in the folder: under sudo, HOME may still be the user's."""
    if os.geteuid() != 0:
        return True
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return os.stat(folder).st_uid == 0


def _compact(path: str) -> None:
    """Replace the file by a shorter one. What another process appends at the same time is lost."""
    lines, days = read(path), DAYS
    while len(data := _encoded(compacted(lines, days))) > COMPACT_FROM // 2 and days > 1:
        days //= 2
    new = f"{path}.new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    except FileExistsError:  # another process compacts it, or was killed while it did
        if time.time() - os.stat(new).st_mtime > STALE:
            os.remove(new)
        return
    with open(fd, "wb") as file:
        file.write(data)
    os.replace(new, path)


def _encoded(days: Iterable[Day]) -> bytes:
    return b"".join(msgspec.json.encode(day) + b"\n" for day in days)


def _parsed(data: bytes) -> Iterable[Day]:
    decoder = json_decoder(Day)
    for line in data.splitlines():
        with suppress(*NOT_VALID):
            yield decoder.decode(line)
