"""A folder on a local disk: ``file:///var/cache/layers``, or a path. Atomic and durable.

An object is the file ``root/key``. Two folders of the root are no keys and are never listed: ``tmp/`` has
unfinished writes, ``locks/`` is the core's. No folder is made before something is written, and none is ever
removed, so that a writer never loses the folder that it is about to publish into.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import Entry, check_key, check_prefix, check_range, is_key
from layercache.errors import BackendError, ConfigError, InvalidNameError, NotFoundError
from layercache_backends.local_spool import LocalSink, LocalSpool, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    from layercache.backend import BackendURL, Reader
    from layercache_backends.local_lock import FileLock

RESERVED = frozenset({"tmp", "locks"})
"""The root's own folders. As the first component of a key they are `InvalidNameError`."""

_RESERVED_FOLDERS = tuple(f"{name}/" for name in RESERVED)

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or put the cache on another disk",
    errno.EDQUOT: "the disk quota is used up: free some space, or put the cache on another disk",
    errno.EROFS: "the disk is mounted read-only: put the cache elsewhere, or configure this tier read-only",
    errno.EMFILE: "too many files are open in this process: raise the limit (ulimit -n)",
}
SMALL = 4096
"""Bytes of a small object that are read at once; a fact has some 300."""

_T = TypeVar("_T")
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True, slots=True)
class Options:
    """``sync``: wait until the disk has what is published. Without, a power cut may lose or tear it."""

    sync: bool = True


def from_url(url: BackendURL) -> LocalBackend:
    """The backend of ``file:///abs/path``, or of a path: relative ones and ``~`` are resolved now."""
    if url.netloc not in ("", "localhost"):
        raise ConfigError(
            f"{url}: {url.netloc!r} is taken for a host name",
            hint=f"file:///path wants three slashes: file:///{url.netloc}{url.path}, or give a plain path",
        )
    path = os.path.expanduser(url.path) if url.path.startswith("~") else url.path
    if not path or path.startswith("~") or "\0" in path:
        raise ConfigError(
            f"{url}: not a folder", hint="wanted file:///var/cache/layers, ./layers or ~/layers"
        )
    root = os.path.abspath(path)
    if os.path.lexists(root) and not os.path.isdir(root):
        raise ConfigError(f"{root} is not a folder", hint="name a folder; it is made when it is missing")
    return LocalBackend(root, sync=url.options(Options).sync)


class LocalBackend:
    """Objects as files below ``root``, an absolute path that need not exist yet."""

    def __init__(self, root: str, *, sync: bool = True) -> None:
        self.root = root
        self.sync = sync
        self.url = f"file://{root}"
        self._below_root = os.path.join(root, "")
        self.unnamed_files: bool | None = None
        """Whether `LocalSpool` can do without temporary names here; None until the first write."""

    def __repr__(self) -> str:
        return f"LocalBackend({self.root!r}, sync={self.sync})"

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        check_range(start, end)
        path = self.object_path(key)
        try:
            file = WholeFile(self, key, path)
        except _ABSENT:
            raise self._not_found(key) from None
        except OSError as error:
            raise self.failure(f"reading {key}", error) from error
        return file if start == 0 and end is None else FileRange(file, start, end)

    def create(self, key: str) -> LocalSink:
        self.object_path(key)
        return LocalSink(LocalSpool(self, sync=self.sync, what=f"writing {key}"), key)

    def create_expendable(self, key: str) -> LocalSink:
        self.object_path(key)
        return LocalSink(LocalSpool(self, sync=False, what=f"writing {key}"), key)

    def spool(self) -> LocalSpool:
        return LocalSpool(self, sync=self.sync, what="spooling")

    def stat(self, key: str) -> Entry:
        path = self.object_path(key)
        try:
            status = os.stat(path)
        except _ABSENT:
            raise self._not_found(key) from None
        except OSError as error:
            raise self.failure(f"looking at {key}", error) from error
        if not stat.S_ISREG(status.st_mode):
            raise self._not_found(key)
        return Entry(key, status.st_size, status.st_mtime)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """As `Backend.scan`. Files that are no keys are passed over; links to folders are not followed."""
        return self._walk(self._folder(prefix), _entry)

    def read_small(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """As `SmallObjects.read_small`: a third of the time that `open`, `read` and `close` take of each."""
        return self._walk(self._folder(prefix), _content)

    def delete(self, key: str) -> None:
        path = self.object_path(key)
        try:
            os.unlink(path)
        except _ABSENT:
            return
        except OSError as error:
            if os.path.isdir(path):  # macOS says EPERM where Linux says EISDIR
                return
            raise self.failure(f"deleting {key}", error) from error

    def touch(self, key: str) -> None:
        try:
            os.utime(self.object_path(key))
        except _ABSENT:
            return
        except OSError as error:
            raise self.failure(f"refreshing the time of {key}", error) from error

    @contextmanager
    def lock(
        self, name: str, *, timeout: float | None = None, lasting: bool = True
    ) -> Iterator[FileLock | None]:
        from layercache_backends.local_lock import locked

        path = os.path.join(self.root, "locks", check_key(name))
        # What the block raises is not ours to translate.
        with ExitStack() as held:
            try:
                lock = self.in_folder(
                    os.path.dirname(path),
                    lambda: held.enter_context(locked(path, self.failure, timeout=timeout, lasting=lasting)),
                    sync=False,
                )
            except OSError as error:
                raise self.failure(f"locking {name}", error) from error
            yield lock

    def remove_leftovers(self, older_than: float) -> int:
        """As `Leftovers.remove_leftovers`: named files in ``tmp/``, by when they were last written to, and
        lock files that nobody holds. Whether a writer lives is not asked: its process id may be one of
        another container's or machine's.
        """
        from layercache_backends.local_lock import remove_if_unused

        before, count = time.time() - older_than, 0
        for folder, remove in (("tmp", _unlink), ("locks", remove_if_unused)):
            try:
                with os.scandir(os.path.join(self.root, folder)) as items:
                    for item in items:
                        with suppress(FileNotFoundError):
                            old = item.stat(follow_symlinks=False).st_mtime < before
                            count += old and item.is_file(follow_symlinks=False) and remove(item.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self.failure(f"clearing {folder}/", error) from error
        return count

    def close(self) -> None:
        """Nothing is held open between calls."""

    def path(self, key: str) -> str:
        """As `LocalPath.path`; also says where a name below ``tmp/`` and ``locks/`` would be."""
        return self._below_root + check_key(key)

    def in_folder(self, folder: str, act: Callable[[], _T], *, sync: bool) -> _T:
        """Do what wants the folder; it is made only where it is missed. Raises `OSError`."""
        try:
            return act()
        except FileNotFoundError:
            self.make_folders(folder, sync=sync)
            return act()

    def make_folders(self, folder: str, *, sync: bool) -> None:
        """Make a folder and what is missing above it. Raises `OSError`."""
        try:
            os.mkdir(folder)
        except FileExistsError:
            return
        except FileNotFoundError:
            self.make_folders(os.path.dirname(folder), sync=sync)
            with suppress(FileExistsError):  # another process was faster
                os.mkdir(folder)
        if sync:
            sync_folder(os.path.dirname(folder))

    def failure(self, doing: str, error: OSError) -> BackendError:
        """What the operating system refused, for the person who can act. To be raised from ``error``."""
        hint = _HINTS.get(error.errno or 0, "")
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = f"check who owns {self.root} and its mode: this process has the user id {os.geteuid()}"
        return BackendError(f"{self.url}: {doing}: {error.strerror or error}", hint=hint)

    def object_path(self, key: str) -> str:
        path = self.path(key)
        if key.startswith(_RESERVED_FOLDERS) or key in RESERVED:
            raise InvalidNameError(
                f"not an object name: {key!r}", hint=f"{self.url} keeps tmp/ and locks/ for itself"
            )
        return path

    def _not_found(self, key: str) -> NotFoundError:
        return NotFoundError(f"{key} is not there", looked_in=(self.url,))

    def _folder(self, prefix: str) -> str:
        check_prefix(prefix)
        if prefix:
            self.object_path(prefix[:-1])
        return prefix

    def _walk(self, prefix: str, look: Callable[[str, os.DirEntry[str]], _T | None]) -> Iterator[_T]:
        # One open folder a level: memory does not grow with the number of objects.
        stack: list[tuple[str, os._ScandirIterator[str]]] = []
        try:
            self._descend(stack, prefix)
            while stack:
                prefix, folder = stack[-1]
                item = next(folder, None)
                if item is None:
                    folder.close()
                    stack.pop()
                elif not is_key(key := prefix + item.name) or key in RESERVED:
                    continue
                elif item.is_dir(follow_symlinks=False):
                    self._descend(stack, f"{key}/")
                elif (found := look(key, item)) is not None:
                    yield found
        except OSError as error:
            raise self.failure(f"listing {prefix or 'everything'}", error) from error
        finally:
            for _, folder in stack:
                folder.close()

    def _descend(self, stack: list[tuple[str, os._ScandirIterator[str]]], prefix: str) -> None:
        try:
            stack.append((prefix, os.scandir(self._below_root + prefix)))
        except (FileNotFoundError, NotADirectoryError):
            return  # an empty cache, or a folder that another tool removed meanwhile


class WholeFile(io.FileIO):
    """A whole object, unbuffered and seekable. Replaced or deleted meanwhile, it keeps its bytes."""

    def __init__(self, backend: LocalBackend, key: str, path: str) -> None:
        super().__init__(path)
        self._backend = backend
        self._key = key
        status = os.fstat(self.fileno())
        self.size = status.st_size
        self.modified = status.st_mtime

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        try:
            return super().readinto(buffer) or 0
        except OSError as error:
            raise self._backend.failure(f"reading {self._key}", error) from error

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            data: bytes = super().read(size)
        except OSError as error:
            raise self._backend.failure(f"reading {self._key}", error) from error
        return data


class FileRange(io.RawIOBase):
    """A range of an object, in order; not seekable. Closes the file that it is given."""

    def __init__(self, file: WholeFile, start: int, end: int | None) -> None:
        self._file = file
        stop = file.size if end is None else min(end, file.size)
        self.size = self._left = max(0, stop - start)
        file.seek(min(start, file.size))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as octets, octets[: self._left] as wanted:
            count = self._file.readinto(wanted)
        self._left -= count
        return count

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _unlink(path: str) -> bool:
    os.unlink(path)
    return True


def _entry(key: str, item: os.DirEntry[str]) -> Entry | None:
    """None for what vanished since the folder was read, and for what is no plain file."""
    try:
        status = item.stat()
    except FileNotFoundError:
        return None
    return Entry(key, status.st_size, status.st_mtime) if stat.S_ISREG(status.st_mode) else None


def _content(key: str, item: os.DirEntry[str]) -> tuple[str, bytes] | None:
    """As `_entry`. Without a file object: making one takes longer than all the rest."""
    try:
        if not item.is_file():
            return None
        file = os.open(item.path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = part = os.read(file, SMALL)
        while len(part) == SMALL:
            data += (part := os.read(file, SMALL))
    finally:
        os.close(file)
    return key, data
