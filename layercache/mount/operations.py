"""What the system asks of a mounted file system."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mfusepy

from layercache.mount.inodes import BLOCK, NAME_MAX
from layercache.mount.open_files import OpenFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from layercache.files.merged import ImageFile
    from layercache.mount.inodes import Inodes


ASYNC_READ = 1
"""A bit of what libfuse negotiates with the system (FUSE_CAP_ASYNC_READ in fuse_common.h)."""


LINK_MAX = 4095
"""Bytes of the target of a symbolic link, in Linux (PATH_MAX)."""


class Operations(mfusepy.Operations):
    """Answers libfuse, which asks in several threads. Paths begin with "/".

    What fails is EIO for the program that asked, and is reported to ``failed``, with the path; the next
    question tries again. ``begun`` is called once the file system is mounted.
    """

    use_ns = True

    def __init__(
        self,
        inodes: Inodes,
        begun: Callable[[], object],
        failed: Callable[[str, Exception], object],
    ) -> None:
        self._inodes = inodes
        self._open = OpenFiles(inodes.files)
        self._begun = begun
        self._failed = failed

    def init_with_config(self, conn_info: Any, config_3: object) -> None:  # noqa: ARG002  # libfuse's signature
        # A program's reads come one after the other. Else the system would ask for what follows at the same
        # time, and of two threads the later part might come first: in a stream that costs a new one.
        if mfusepy.fuse_version_major == 2:
            conn_info.async_read = 0
        else:
            conn_info.want &= ~ASYNC_READ
        self._begun()

    def destroy(self, path: str) -> None:  # noqa: ARG002
        self._open.close_all()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:  # noqa: ARG002
        return self._inodes.attributes(self._file(path))

    def readdir(self, path: str, fh: int) -> Iterable[tuple[str, dict[str, int], int]]:  # noqa: ARG002
        with self._reading(path):
            return [(name, attributes, 0) for name, attributes in self._inodes.listed(path[1:])]

    def readlink(self, path: str) -> str:
        link = self._file(path).entry.link
        if len(link.encode("utf-8", "surrogateescape")) > LINK_MAX:  # mfusepy would cut it off
            raise mfusepy.FuseOSError(errno.ENAMETOOLONG)
        return link

    def listxattr(self, path: str) -> list[str]:
        return list(self._file(path).entry.xattrs)

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:  # noqa: ARG002
        value = self._file(path).entry.xattrs.get(name)
        if value is None:
            raise mfusepy.FuseOSError(errno.ENODATA)
        return value

    def statfs(self, path: str) -> dict[str, int]:  # noqa: ARG002
        return {
            "f_bsize": BLOCK,
            "f_frsize": BLOCK,
            "f_blocks": -(-self._inodes.size // BLOCK),
            "f_files": len(self._inodes),
            "f_namemax": NAME_MAX,
        }

    def open(self, path: str, flags: int) -> int:  # noqa: ARG002  # the system itself refuses to write
        file = self._file(path)
        if file.entry.type == "hardlink":  # else a link to nothing would be an empty file
            with self._reading(path):
                self._inodes.files.open(file)
        return self._open.open(file)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self._reading(path):
            return self._open.read(fh, offset, size)

    def release(self, path: str, fh: int) -> int:  # noqa: ARG002
        self._open.close(fh)
        return 0

    def _file(self, path: str) -> ImageFile:
        file = self._inodes.get(path[1:])
        if file is None:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return file

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """Report what fails inside the block; to the system it is EIO."""
        try:
            yield
        except Exception as error:
            self._failed(path, error)
            raise mfusepy.FuseOSError(errno.EIO) from error
