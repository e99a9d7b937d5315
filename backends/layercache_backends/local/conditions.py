"""The local backend's conditional writes, which leave no lock files behind.

A new object is written without a name, and linked: a link fails if the name is taken. To change an object, a
writer holds the lock (``flock``) of the file that has the name. Whoever waited for it finds that another file
has the name by then, and compares the version of that one.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol

from layercache.backend import version_of, write_whole
from layercache.errors import BackendError, NotFoundError
from layercache_backends.local.folders import ABSENT, Store, open_plain
from layercache_backends.local.listing import content_of
from layercache_backends.local.lock import FIRST_PAUSE, LONGEST_PAUSE, has_locks, is_named, try_lock, unlock
from layercache_backends.local.spool import LocalSpool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from layercache.backend import Entry, Sink

PATIENCE = 5.0
"""Seconds to wait for the lock of an object. Its holder needs less than a millisecond."""

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""How file systems without hard links refuse one."""


class Files(Store, Protocol):
    """The part of the backend that is used here."""

    def path(self, key: str) -> str: ...

    def stat(self, key: str) -> Entry: ...

    def create_expendable(self, key: str) -> Sink: ...

    def lock(self, name: str, *, lasting: bool) -> AbstractContextManager[object]: ...


def create_new(backend: Files, key: str, data: bytes) -> bool:
    """As `Exclusive.create_new`."""
    spool = _written(backend, key, data)
    try:
        return spool.publish_new(key)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise backend.failure(f"writing {key}", error) from error
    finally:
        spool.close()
    with backend.lock("conditions", lasting=False):
        try:
            backend.stat(key)
        except NotFoundError:
            write_whole(backend.create_expendable(key), data)
            return True
    return False


def write_if(backend: Files, key: str, data: bytes, version: str | None) -> bool:
    """As `Conditional.write_if`."""
    if version is None:
        return create_new(backend, key, data)
    backend.check_object(key)

    def change(name: str, folder: int) -> bool:
        with _locked(name, folder) as file:
            found = content_of(file)
            if found is None or version_of(found) != version:
                return False
            if data:
                with closing(_written(backend, key, data)) as spool:
                    spool.publish(key)
            else:
                os.unlink(name, dir_fd=folder)
            return True

    try:
        return backend.folders.at(key, change)
    except ABSENT:
        return False
    except TimeoutError as error:
        raise BackendError(
            f"{backend.url}: writing {key}: another process has locked it for {PATIENCE:g} s",
            hint=f"find it with: fuser {backend.path(key)}",
        ) from error
    except OSError as error:
        raise backend.failure(f"writing {key}", error) from error


def are_honoured(backend: Files) -> bool:
    """As `Conditional.honours_conditions`: without locks, two writers can change an object at once."""
    try:
        with closing(LocalSpool(backend, sync=False, what="trying a lock")) as spool:
            return has_locks(spool.fileno())
    except OSError as error:
        raise backend.failure("trying a lock", error) from error


def _written(backend: Files, key: str, data: bytes) -> LocalSpool:
    spool = LocalSpool(backend, sync=False, what=f"writing {key}")
    try:
        spool.write(data)
    except BaseException:
        spool.close()
        raise
    return spool


@contextmanager
def _locked(name: str, folder: int) -> Iterator[int]:
    """Hold the lock of the file that has this name, and yield its descriptor.

    Raises `FileNotFoundError` if no regular file has it, `TimeoutError`, `OSError`.
    """
    limit, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
    while True:
        file = _open(name, folder)
        if try_lock(file):
            if is_named(file, name, folder):
                break
            unlock(file)  # replaced after we opened it and before we locked it
            continue
        os.close(file)
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    try:
        yield file
    finally:
        # A child forked in between has a copy of the descriptor: closing ours would not release the lock.
        unlock(file)


def _open(name: str, folder: int) -> int:
    try:
        # NFS locks a file only for those who may write to it.
        return open_plain(name, folder, os.O_RDWR)[0]
    except PermissionError:  # another user's file, which can still be replaced
        return open_plain(name, folder)[0]
