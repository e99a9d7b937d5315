"""A folder on a local disk: ``file:///var/cache/layers``, or a path. Atomic and durable.

An object is the file ``root/key``. Two folders of the root are not keys and are never listed: ``tmp/`` has
unfinished writes, ``locks/`` belongs to the core. Folders are created by the first write, and never removed,
so that a writer never loses the folder that it is about to publish to. Only regular files are objects, and no
link below the root is followed (`layercache_backends.local.folders`).
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from layercache.backend import Entry, check_key, check_prefix, check_range
from layercache.errors import BackendError, ConfigError, ForbiddenError, InvalidNameError, NotFoundError
from layercache_backends.local.folders import ABSENT, RESERVED, Folders, LinkError, look
from layercache_backends.local.listing import content, walk
from layercache_backends.local.reader import FileRange, WholeFile, read_versioned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import BackendURL, Leftover, Reader
    from layercache_backends.local.lock import FileLock
    from layercache_backends.local.momentary import MomentaryLock
    from layercache_backends.local.spool import LocalSink, LocalSpool

_RESERVED_FOLDERS = tuple(f"{name}/" for name in RESERVED)

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or put the cache on another disk",
    errno.EDQUOT: "the disk quota is exhausted: free some space, or put the cache on another disk",
    errno.EROFS: "the disk is mounted read-only: move the cache, or set readonly=true for this tier",
    errno.EMFILE: "too many files are open in this process: raise the limit (ulimit -n)",
}


class Options(Struct, frozen=True):
    """``sync``: wait until published bytes are on the disk, so that a power failure cannot lose them.

    ``shared``: give what is created to the group of the folder, as if it was a setgid folder.
    """

    sync: bool = True
    shared: bool = False


def from_url(url: BackendURL) -> LocalBackend:
    """Return the backend of ``file:///abs/path`` or a path; relative paths and ``~`` are resolved now."""
    if url.netloc not in ("", "localhost"):
        raise ConfigError(
            f"{url}: {url.netloc!r} is parsed as a host name",
            hint=f"for a folder in this one write ./{url.netloc}{url.path}, for one in the root of the disk "
            f"file:///{url.netloc}{url.path}",
        )
    path = os.path.expanduser(url.path) if url.path.startswith("~") else url.path
    if not path or path.startswith("~") or "\0" in path:
        raise ConfigError(
            f"{url}: not a folder",
            hint="unknown home folder: set HOME, or give a path"
            if path.startswith("~")
            else "expected file:///var/cache/layers, ./layers or ~/layers",
        )
    root = os.path.abspath(path)
    if os.path.lexists(root) and not os.path.isdir(root):
        raise ConfigError(f"{root} is not a folder", hint="use a folder; it is created if it does not exist")
    options = url.options(Options)
    return LocalBackend(root, sync=options.sync, shared=options.shared)


class LocalBackend:
    """Objects as files below ``root``, an absolute path that need not exist. The rest is as in `Options`."""

    def __init__(self, root: str, *, sync: bool = True, shared: bool = False) -> None:
        self.root = root
        self.sync = sync
        self.url = f"file://{root}"
        self.folders = Folders(root, shared=shared)
        self._below_root = os.path.join(root, "")
        self._conditions: bool | None = None
        self.unnamed_files: bool | None = None
        """Whether `LocalSpool` works without temporary names here; None until the first write."""

    def __repr__(self) -> str:
        return f"LocalBackend({self.root!r}, sync={self.sync})"

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        check_range(start, end)
        self.check_object(key)
        try:
            file = WholeFile(self, key)
        except ABSENT:
            raise self.not_found(key) from None
        except OSError as error:
            raise self.failure(f"reading {key}", error) from error
        return file if start == 0 and end is None else FileRange(file, start, end)

    def create(self, key: str) -> LocalSink:
        self.check_object(key)
        return self._sink(key, sync=self.sync)

    def create_expendable(self, key: str) -> LocalSink:
        self.check_object(key)
        return self._sink(key, sync=False)

    def _sink(self, key: str, *, sync: bool) -> LocalSink:
        from layercache_backends.local.spool import LocalSink, LocalSpool

        return LocalSink(LocalSpool(self, sync=sync, what=f"writing {key}"), key)

    def spool(self) -> LocalSpool:
        from layercache_backends.local.spool import LocalSpool

        return LocalSpool(self, sync=self.sync, what="writing a temporary file")

    def stat(self, key: str) -> Entry:
        self.check_object(key)
        try:
            status = self.folders.at(key, look)
        except ABSENT:
            raise self.not_found(key) from None
        except OSError as error:
            raise self.failure(f"stat of {key}", error) from error
        return Entry(key, status.st_size, status.st_mtime)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """As `Backend.scan`. Skips names that are not keys, and anything but regular files."""
        found = walk(self, self._folder(prefix), look)
        return (Entry(key, status.st_size, status.st_mtime) for key, status in found)

    def read_small(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """As `SmallObjects.read_small`; takes a third of the time of opening each object."""
        return walk(self, self._folder(prefix), content)

    def delete(self, key: str) -> None:
        self.check_object(key)
        try:
            self.folders.at(key, _remove)
        except ABSENT:
            return
        except OSError as error:
            if os.path.isdir(self.path(key)):  # macOS says EPERM where Linux says EISDIR
                return
            raise self.failure(f"deleting {key}", error) from error

    def move(self, key: str, to: str) -> None:
        self.check_object(key)
        self.check_object(to)
        above, _, new = to.rpartition("/")

        def rename(name: str, folder: int) -> None:
            look(name, folder)  # missing, or not an object: create no folder for it
            self.folders.inside(
                above,
                lambda target: os.rename(name, new, src_dir_fd=folder, dst_dir_fd=target.fd),
                sync=self.sync,
            )

        try:
            self.folders.at(key, rename)
        except ABSENT:
            raise self.not_found(key) from None
        except OSError as error:
            raise self.failure(f"moving {key} to {to}", error) from error

    def touch(self, key: str) -> None:
        self.check_object(key)
        try:
            self.folders.at(key, _touch)
        except ABSENT:
            return
        except OSError as error:
            raise self.failure(f"refreshing the time of {key}", error) from error

    @contextmanager
    def lock(
        self, name: str, *, timeout: float | None = None, lasting: bool = True
    ) -> Iterator[FileLock | MomentaryLock | None]:
        from layercache_backends.local.lock import take_lock
        from layercache_backends.local.momentary import take_momentary_lock

        check_key(name)
        kind = take_lock if lasting else take_momentary_lock
        take = partial(kind, name, failure=self.failure, timeout=timeout, share=self.folders.share)
        try:
            lock = self.folders.inside("locks", take, sync=False)
        except PermissionError:
            lock = None  # another user's: a lock only saves work, so continue without it
        except OSError as error:
            raise self.failure(f"locking {name}", error) from error
        try:
            yield lock
        finally:
            if lock is not None:
                lock.release()

    def create_new(self, key: str, data: bytes) -> bool:
        from layercache_backends.local.conditions import create_new

        return create_new(self, key, data)

    def honours_conditions(self) -> bool:
        """As `Conditional.honours_conditions`: whether the file system has locks."""
        from layercache_backends.local.conditions import are_honoured

        if self._conditions is None:
            self._conditions = are_honoured(self)
        return self._conditions

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        return read_versioned(self, key)

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        from layercache_backends.local.conditions import write_if

        return write_if(self, key, data, version)

    def remove_leftovers(self, older_than: float) -> int:
        """As `Leftovers.remove_leftovers`: files of unfinished writes in ``tmp/``, by the time of their last
        write, and lock files that nobody holds. Does not check whether the writer is alive: its process id
        may belong to another container or machine. Skips files of other users.
        """
        from layercache_backends.local.leftovers import remove_unfinished, removed
        from layercache_backends.local.lock import remove_if_unused

        count = 0
        for folder, remove in (("tmp", remove_unfinished), ("locks", remove_if_unused)):
            try:
                count += removed(self.folders, folder, remove, older_than)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self.failure(f"removing leftovers of {folder}/", error) from error
        return count

    def leftovers(self) -> list[Leftover]:
        """As `CountedLeftovers.leftovers`: the files of unfinished writes in ``tmp/``."""
        from layercache_backends.local.leftovers import unfinished

        try:
            return unfinished(self.folders)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self.failure("listing tmp/", error) from error

    def close(self) -> None:
        """Close the open folders. They are opened again when needed."""
        self.folders.close()

    def path(self, key: str) -> str:
        """As `LocalPath.path`; also for names below ``tmp/`` and ``locks/``."""
        return self._below_root + check_key(key)

    def failure(self, doing: str, error: OSError) -> BackendError:
        """Translate an error of the operating system. To be raised from ``error``."""
        message = f"{self.url}: {doing}: {error.strerror or error}"
        if error.errno in (errno.EACCES, errno.EPERM):
            mine = f"this process has the user id {os.geteuid()}"
            return ForbiddenError(message, hint=f"check who owns {self.root} and its mode: {mine}")
        if isinstance(error, LinkError):
            return BackendError(
                message,
                hint=f"{self.root} may be a link, but links below it are not followed: remove this one",
            )
        hint = _HINTS.get(error.errno or 0, "")
        if error.errno == errno.ENOSPC and _is_out_of_inodes(self.root):
            message = f"{self.url}: {doing}: no inodes left on the disk"
            hint = "the disk has too many files: remove some, or put the cache on another disk"
        return BackendError(message, hint=hint)

    def check_object(self, key: str) -> None:
        """Raise `InvalidNameError` unless this is a valid object name."""
        check_key(key)
        if key.startswith(_RESERVED_FOLDERS) or key in RESERVED:
            raise InvalidNameError(
                f"not an object name: {key!r}", hint=f"{self.url} reserves tmp/ and locks/"
            )

    def not_found(self, key: str) -> NotFoundError:
        return NotFoundError(f"{key} does not exist", looked_in=(self.url,))

    def _folder(self, prefix: str) -> str:
        check_prefix(prefix)
        if prefix:
            self.check_object(prefix[:-1])
        return prefix


def _remove(name: str, folder: int) -> None:
    os.unlink(name, dir_fd=folder)


def _touch(name: str, folder: int) -> None:
    # A file with a second name may belong to somebody else, so it is not changed.
    if look(name, folder).st_nlink == 1:
        os.utime(name, dir_fd=folder, follow_symlinks=False)


def _is_out_of_inodes(path: str) -> bool:
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    # Some file systems have no fixed number of inodes, and say 0 of 0.
    return disk.f_files > 0 and disk.f_favail == 0 and disk.f_bavail > 0
