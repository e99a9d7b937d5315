"""The file system objects of an fsspec backend: each used by one thread at a time, and by one process."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Options = dict[str, str | int | float | bool]
"""The arguments of a file system's constructor."""

SSH_TIMEOUTS = ("timeout", "banner_timeout", "auth_timeout", "channel_timeout")
"""paramiko's timeouts, in seconds, for the connection, the banner, the login and the channel."""

_NO_BREAK = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
"""Errors about files, which show that the connection works."""


class Connections:
    """A pool of file system objects, created on demand.

    An fsspec object is for one thread, unless its calls are asynchronous (``shared``): paramiko, for example,
    may return the response to one thread's request to another. fsspec also does not reconnect, so an object
    that failed is not used again, and neither are those that were idle at that time.
    """

    def __init__(self, target: str, options: Options, *, shared: bool) -> None:
        self.root = ""
        """The cache's folder, as the file system names it; known after the first connection."""
        self._target = target
        self._options = options
        self._shared = shared
        self._idle: dict[int, list[Any]] = {}
        """By process. A forked child keeps its parent's: dropping them would finalize them."""

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Lend a file system object that no other thread uses, unless it can be shared."""
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
        """Drop the objects of this process; fsspec cannot close them."""
        self._idle.pop(os.getpid(), None)

    def _give_back(self, files: Any, idle: list[Any]) -> None:
        if not self._shared:
            idle.append(files)

    def _connect(self) -> Any:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(self._target, **self._options, skip_instance_cache=True)
        # Not as an option: sftp, for example, passes all options to its client, which does not know this one.
        files.dircache.use_listings_cache = False
        if silence := self._options.get(SSH_TIMEOUTS[-1]):
            files.ftp.get_channel().settimeout(float(silence))  # and for each response
        self.root = root.rstrip("/")
        return files
