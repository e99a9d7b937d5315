"""The file system objects of an fsspec backend: each used by one thread at a time, and by one process."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Options = dict[str, str | int | float | bool]
"""What the constructor of a file system is given."""

SSH_TIMEOUTS = ("timeout", "banner_timeout", "auth_timeout", "channel_timeout")
"""paramiko's: seconds until it is connected, greeted, let in, and has a channel."""

_NO_BREAK = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
"""What a file system says of files, and says by a connection that works."""


class Connections:
    """Hands out file system objects, makes them as they are needed, and takes them back.

    fsspec means an object for one thread, unless its calls are asynchronous (``shared``): paramiko, for one,
    gives the answer to one thread's question to another. Nor does fsspec connect again: what has failed
    is not used any more, and what was idle meanwhile neither.
    """

    def __init__(self, target: str, options: Options, *, shared: bool) -> None:
        self.root = ""
        """The cache's folder, as the file system names it; known once there was a connection."""
        self._target = target
        self._options = options
        self._shared = shared
        self._idle: dict[int, list[Any]] = {}
        """By process. The parent's stay in a forked child: to drop them would be to finalize them."""

    @contextmanager
    def one(self) -> Iterator[Any]:
        """A file system object that no other thread uses, unless it is made for that."""
        idle = self._idle.setdefault(os.getpid(), [])
        try:
            files = idle.pop()
        except IndexError:
            files = self._connect()
        if self._shared:
            idle.append(files)
        try:
            yield files
        except _NO_BREAK:
            self._give_back(files, idle)
            raise
        except BaseException:
            if not self._shared:
                idle.clear()
            raise
        self._give_back(files, idle)

    def forget(self) -> None:
        """Drop those of this process; fsspec has no way to close one."""
        self._idle.pop(os.getpid(), None)

    def _give_back(self, files: Any, idle: list[Any]) -> None:
        if not self._shared:
            idle.append(files)

    def _connect(self) -> Any:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(self._target, **self._options, skip_instance_cache=True)
        # Not by an option: sftp, for one, gives all options to its client, which does not know this one.
        files.dircache.use_listings_cache = False
        if silence := self._options.get(SSH_TIMEOUTS[-1]):
            files.ftp.get_channel().settimeout(float(silence))  # and until each answer
        self.root = root.rstrip("/")
        return files
