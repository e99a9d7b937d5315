"""The local backend's unfinished writes: files that get their name when they are complete.

On Linux such a file has no name (``O_TMPFILE``), so a killed process leaves nothing behind. If the system or
the file system does not support that, it has a name in ``tmp/``, which stays after a kill until `prune`
removes it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from layercache.backend import SinkBase, check_usable
from layercache_backends.local.folders import sync_folder

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from layercache_backends.local.folders import Folder, Store

_WRITE_BACK = 8 << 20  # bytes


class LocalSpool:
    """An unfinished file in the cache's file system, so that publishing it copies nothing.

    Belongs to the process that created it: a forked child can only ``close`` it, which closes the child's
    descriptor and nothing else.
    """

    _fd = -1
    _name: str | None = None
    _published: tuple[int, int] | None = None

    def __init__(self, backend: Store, *, sync: bool, what: str) -> None:
        self._backend = backend
        self._sync = sync
        self._what = what
        self._owner = os.getpid()
        self._ended = False
        self._written = 0
        self._sent = 0
        try:
            backend.folders.beside("tmp", self._open, sync=sync)
        except OSError as error:
            raise backend.failure(what, error) from error

    def write(self, data: ReadableBuffer, /) -> None:
        self._check_usable()
        # A write that failed half-way may have left bytes, so nothing after it can be right.
        self._ended = True
        try:
            with memoryview(data) as view:
                count = os.write(self._fd, view)
                self._written += view.nbytes
                if count < view.nbytes:
                    self._write_rest(view, count)
            if self._sync and self._written - self._sent >= _WRITE_BACK:
                self._start_write_back()
        except OSError as error:
            raise self._backend.failure(self._what, error) from error
        self._ended = False

    def readinto_at(self, offset: int, buffer: WriteableBuffer, /) -> int:
        """As `Spool.readinto_at`; works after ``publish``, until ``close``."""
        try:
            return os.preadv(self._fd, [buffer], offset)
        except OSError as error:
            raise self._backend.failure(f"{self._what}: reading back", error) from error

    if sys.platform == "linux":

        def splice_to(self, pipe: int, offset: int, size: int, /) -> int:
            """As `Spliced.splice_to`. What is in the pipe then is the file's own memory, not a copy."""
            try:
                return os.splice(self._fd, pipe, size, offset_src=offset, flags=os.SPLICE_F_NONBLOCK)
            except OSError:  # the pipe is full or has no reader, or the file system cannot
                return 0

    def fileno(self) -> int:
        return self._fd

    def was_changed(self) -> bool:
        """As `Stamped.was_changed`."""
        return self._published is not None and self._published != _stamp(self._fd)

    def publish(self, key: str) -> None:
        path, name = self._ending(key)
        backend = self._backend
        try:
            os.utime(self._fd)  # an object's time is that of its publication, not of the last write
            self._published = _stamp(self._fd)
            if self._sync:
                _sync_file(self._fd)
            backend.folders.inside(path, lambda folder: self._give_name(name, folder.fd), sync=self._sync)
        except OSError as error:
            raise backend.failure(f"writing {key}", error) from error

    def publish_new(self, key: str) -> bool:
        """Publish what was just written unless the name is taken; return whether it was free.

        It is not synced. Raises `OSError`, for example if the file system has no hard links.
        """
        path, name = self._ending(key)
        try:
            self._backend.folders.inside(path, lambda folder: self._link(name, folder.fd), sync=False)
        except FileExistsError:
            return False
        return True

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        name, self._name = self._name, None
        self._ended = True
        if fd >= 0:
            os.close(fd)
        if name is not None and self._owner == os.getpid():
            _unlink(name, self._tmp.fd)

    def __del__(self) -> None:
        if self._fd >= 0:
            self.close()

    def _check_usable(self) -> None:
        check_usable(f"{self._backend.url}: {self._what}", self._owner, ended=self._ended)

    def _ending(self, key: str) -> tuple[str, str]:
        """Begin to publish: no more bytes. Return the folder and the name of the key."""
        self._check_usable()
        self._ended = True
        self._backend.check_object(key)
        path, _, name = key.rpartition("/")
        return path, name

    def _open(self, tmp: Folder) -> None:
        backend, self._tmp = self._backend, tmp
        if backend.unnamed_files is None:
            backend.unnamed_files = _can_name_later(tmp.fd)
        if backend.unnamed_files:
            self._fd = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o666, dir_fd=tmp.fd)
        else:
            name = _unique()
            self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=tmp.fd)
            self._name = name
        backend.folders.share(self._fd)

    def _write_rest(self, view: memoryview, start: int) -> None:
        # Linux writes at most 2 GiB at a time; a full disk writes a part before it fails.
        with view.cast("B") as octets:
            while start < len(octets):
                start += os.write(self._fd, octets[start:])

    def _start_write_back(self) -> None:
        # Let the disk write in the background: the final fdatasync after 512 MiB then takes 5 ms instead of
        # 220. DONTNEED starts writing dirty pages and drops only clean ones, so readers that follow the
        # growing file still find the latest bytes in memory.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, self._sent, self._written - self._sent, os.POSIX_FADV_DONTNEED)
        self._sent = self._written

    def _link(self, name: str, folder: int) -> None:
        if self._name is None:
            _link(self._fd, name, folder)
        else:
            os.link(self._name, name, src_dir_fd=self._tmp.fd, dst_dir_fd=folder, follow_symlinks=False)

    def _give_name(self, name: str, folder: int) -> None:
        tmp = self._tmp.fd
        if self._name is not None:
            os.replace(self._name, name, src_dir_fd=tmp, dst_dir_fd=folder)
            self._name = None
        else:
            try:
                _link(self._fd, name, folder)
            except FileExistsError:
                # A link cannot replace an existing name; a rename can, but needs a name to start from.
                spare = _unique()
                _link(self._fd, spare, tmp)
                try:
                    os.replace(spare, name, src_dir_fd=tmp, dst_dir_fd=folder)
                except OSError:
                    _unlink(spare, tmp)
                    raise
        if self._sync:
            sync_folder(folder)


class LocalSink(SinkBase):
    """A spool whose key is known from the start."""

    def __init__(self, spool: LocalSpool, key: str) -> None:
        self._spool = spool
        self._key = key

    def write(self, data: ReadableBuffer, /) -> None:
        self._spool.write(data)

    def commit(self) -> None:
        try:
            self._spool.publish(self._key)
        finally:
            self._spool.close()

    def abort(self) -> None:
        self._spool.close()


def _stamp(file: int) -> tuple[int, int]:
    """What shows that a file was overwritten or truncated: its size and its time."""
    status = os.fstat(file)
    return status.st_size, status.st_mtime_ns


def _sync_file(fd: int) -> None:
    if sys.platform == "darwin":  # fsync does not wait for the disk there
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def _can_name_later(tmp: int) -> bool:
    """Whether an unnamed file can be linked here: the kernel, the file system and /proc must support it.

    Tests it with an empty file, because the answer is needed before there are bytes to lose. Other problems
    are reported by the fallback, which needs none of the three.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    name = _unique()
    try:
        fd = os.open(".", os.O_WRONLY | os.O_TMPFILE, 0o666, dir_fd=tmp)
        try:
            _link(fd, name, tmp)
        finally:
            os.close(fd)
    except OSError:
        return False
    _unlink(name, tmp)
    return True


def _link(fd: int, name: str, folder: int) -> None:
    # src_dir_fd means nothing beside an absolute path, but makes Python 3.11 call linkat and follow the link;
    # without, the link in /proc itself is linked, which is EXDEV.
    os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, dst_dir_fd=folder)


def _unique() -> str:
    return f"{os.getpid()}-{os.urandom(8).hex()}"


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
