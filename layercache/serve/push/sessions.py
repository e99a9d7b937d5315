"""Uploads on their way: what has come of a blob, in a file that all workers of a machine share."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from layercache.oci.digest import Digest
from layercache.serve.messages import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator

SWEEP_EVERY = 600.0
"""Seconds between two looks for uploads that were abandoned."""

_ID = re.compile(r"[0-9a-f]{32}")


class Session:
    """One upload, locked: no other thread or process writes to it."""

    def __init__(self, path: str, file: int) -> None:
        self.path = path
        self._file = file

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return os.fstat(self._file).st_size

    def append(self, parts: Iterator[bytes], limit: int | None) -> int:
        """Write parts at the end as they come; return how many bytes that were.

        What came stays where reading the parts raises: a client may go on from there. Raises `RegistryError`
        413 where the blob gets bigger than ``limit`` bytes, and `OSError`: a full disk keeps nothing of this.
        """
        start = size = self.size
        try:
            for part in parts:
                if limit is not None and size + len(part) > limit:
                    raise RegistryError(
                        413, "SIZE_INVALID", f"a blob may have {limit} bytes here (max_upload_size)"
                    )
                left = memoryview(part)
                while left:
                    written = os.pwrite(self._file, left, size)
                    size += written
                    left = left[written:]
        except OSError:
            self.cut(start)
            raise
        return size - start

    def cut(self, size: int) -> None:
        """Forget what came after the first ``size`` bytes."""
        os.ftruncate(self._file, size)

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)


class Sessions:
    """The uploads of one folder. Thread-safe, and for several processes: the kernel's file locks guard each.

    An upload belongs to one repository: its file's name has a hash of that, so its id is of no use elsewhere.
    ``age``: seconds without a byte after which an upload is abandoned. ``most``: uploads at a time.
    """

    def __init__(self, folder: str, *, age: float, most: int) -> None:
        self._folder = folder
        self._age = age
        self._most = most
        self._swept = 0.0  # a sweep too many does no harm: no lock

    def begin(self, repository: str) -> str:
        """Begin an upload; return its id. Raises `RegistryError` 429 where there are too many."""
        os.makedirs(self._folder, 0o700, exist_ok=True)
        self._sweep()
        if len(os.listdir(self._folder)) >= self._most:
            raise RegistryError(
                429,
                "TOOMANYREQUESTS",
                f"{self._most} uploads are on their way (max_uploads)",
                headers=[("retry-after", "10")],
            )
        identifier = secrets.token_hex(16)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        os.close(os.open(self._path(repository, identifier), flags, 0o600))
        return identifier

    @contextmanager
    def held(self, repository: str, identifier: str) -> Iterator[Session]:
        """An upload, while nobody else may change it.

        Raises `RegistryError` 404 where there is none, 409 where another request is writing to it.
        """
        unknown = RegistryError(
            404, "BLOB_UPLOAD_UNKNOWN", f"no such upload: it has ended, or nothing came for {self._age:.0f} s"
        )
        if not _ID.fullmatch(identifier):
            raise unknown
        path = self._path(repository, identifier)
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise unknown from None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RegistryError(
                    409, "BLOB_UPLOAD_INVALID", "another request is writing to this upload"
                ) from None
            if not os.fstat(file).st_nlink:  # it ended between the two
                raise unknown
            yield Session(path, file)
        finally:
            os.close(file)

    def _path(self, repository: str, identifier: str) -> str:
        return os.path.join(self._folder, f"{Digest.of(repository.encode()).hex[:16]}-{identifier}")

    def _sweep(self) -> None:
        """Remove what was abandoned, now and then. What somebody is writing to has a young time."""
        now = time.time()
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        remove_older(self._folder, now - self._age)


def remove_older(folder: str, oldest: float) -> None:
    """Remove a folder's files that were last written before a time (seconds since the epoch)."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)
