"""The files of a mount that programs have open."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from layercache.errors import FormatError

if TYPE_CHECKING:
    import io

    from layercache.files.merged import ImageFile, ImageFiles


class OpenFile:
    """A file that may be read by several threads. What fails is tried again by the next read."""

    def __init__(self, files: ImageFiles, file: ImageFile) -> None:
        self._files = files
        self._file = file
        # Held while the stream is moved and read: it has one position. Reads of other files go on.
        self._lock = threading.Lock()
        self._stream: io.BufferedReader | None = None

    def read(self, offset: int, size: int) -> bytes:
        """The bytes of a part; fewer only at the end of the file. Raises as `ImageFiles.open`."""
        wanted = max(0, min(size, self._file.entry.size - offset))
        if not wanted:
            return b""
        with self._lock:
            try:
                if self._stream is None:
                    self._stream = self._files.open(self._file)
                self._stream.seek(offset)
                data = self._stream.read(wanted)
            except BaseException:
                self._close()
                raise
        if len(data) != wanted:  # the system would take what is missing for the end of the file
            raise FormatError(f"{self._file.path} ends at byte {offset + len(data)}, before its end")
        return data

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


class OpenFiles:
    """Open files by the handles that the system has for them."""

    def __init__(self, files: ImageFiles) -> None:
        self._files = files
        self._handles = itertools.count(1)
        # Each method is one step of the dictionary and of the counter, so that no lock is needed.
        self._open: dict[int, OpenFile] = {}

    def open(self, file: ImageFile) -> int:
        """Return a handle. Nothing is opened before something is read."""
        handle = next(self._handles)
        self._open[handle] = OpenFile(self._files, file)
        return handle

    def read(self, handle: int, offset: int, size: int) -> bytes:
        return self._open[handle].read(offset, size)

    def close(self, handle: int) -> None:
        self._open.pop(handle).close()

    def close_all(self) -> None:
        """Close what an end has left open."""
        while self._open:
            self._open.popitem()[1].close()
