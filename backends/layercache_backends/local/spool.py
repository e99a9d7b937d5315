"""The local backend's unfinished writes: files without a name that get one when they are whole.

On Linux such a file has no name at all (``O_TMPFILE``): after a kill nothing is left of it. Where the system
or the file system cannot do that it has a name in ``tmp/``, which a kill leaves behind and `prune` removes.
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
    """A file on its way in the cache's own file system, so that publishing it copies nothing.

    Belongs to the process that made it: a forked child can only ``close`` it, which gives back the child's
    descriptor and nothing else.
    """

    _fd = -1
    _name: str | None = None

    def __init__(self, backend: Store, *, sync: bool, what: str) -> None:
        self._backend = backend
        self._sync = sync
        self._what = what
        self._owner = os.getpid()
        self._ended = False
        self._written = 0
        self._sent = 0
        try:
            backend.folders.inside("tmp", self._open, sync=sync)
        except OSError as error:
            raise backend.failure(what, error) from error

    def write(self, data: ReadableBuffer, /) -> None:
        self._check_usable()
        # A write that broke off half-way may have left bytes: nothing after it can be right.
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
        """As `Spool.readinto_at`; goes on after ``publish``, until ``close``."""
        try:
            return os.preadv(self._fd, [buffer], offset)
        except OSError as error:
            raise self._backend.failure(f"{self._what}: reading back", error) from error

    def stamp(self) -> tuple[int, int]:
        """As `Stamped.stamp`."""
        status = os.fstat(self._fd)
        return status.st_size, status.st_mtime_ns

    def publish(self, key: str) -> None:
        self._check_usable()
        self._ended = True
        backend = self._backend
        backend.check_object(key)
        path, _, name = key.rpartition("/")
        try:
            os.utime(self._fd)  # an object's time is when it was published, not when it was last written to
            if self._sync:
                _sync_file(self._fd)
            backend.folders.inside(path, lambda folder: self._give_name(name, folder.fd), sync=self._sync)
        except OSError as error:
            raise backend.failure(f"writing {key}", error) from error

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        name, self._name = self._name, None
        self._ended = True
        if fd >= 0:
            os.close(fd)
        if name is not None and self._owner == os.getpid():
            _unlink(name, self._tmp.fd)

    def __del__(self) -> None:
        self.close()

    def _check_usable(self) -> None:
        check_usable(f"{self._backend.url}: {self._what}", self._owner, ended=self._ended)

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

    def _write_rest(self, view: memoryview, start: int) -> None:
        # Linux takes 2 GiB at a time; a disk that gets full takes a part before it says so.
        with view.cast("B") as octets:
            while start < len(octets):
                start += os.write(self._fd, octets[start:])

    def _start_write_back(self) -> None:
        # The disk works while we do: the fdatasync that waits for the last bytes of 512 MiB then takes 5 ms
        # instead of 220. DONTNEED starts the writing of dirty pages and drops only clean ones, so readers who
        # follow the growing file find what was just written in memory.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, self._sent, self._written - self._sent, os.POSIX_FADV_DONTNEED)
        self._sent = self._written

    def _give_name(self, name: str, folder: int) -> None:
        tmp = self._tmp.fd
        if self._name is not None:
            os.replace(self._name, name, src_dir_fd=tmp, dst_dir_fd=folder)
            self._name = None
        else:
            try:
                _link(self._fd, name, folder)
            except FileExistsError:
                # A link cannot replace; a rename can, but wants a name to begin with.
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
    """A spool whose key is known from the beginning."""

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


def _sync_file(fd: int) -> None:
    if sys.platform == "darwin":  # its fsync does not wait for the disk
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def _can_name_later(tmp: int) -> bool:
    """Whether a file without a name can get one here: the kernel, the file system and /proc must agree.

    Tried with an empty file, since the answer must be known before there are bytes to lose. Any other
    trouble is met, and reported, by the way that needs none of the three.
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
