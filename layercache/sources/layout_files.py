"""The files of an OCI layout, by their names in it: in a folder, or in a tar."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol

from layercache.errors import NotFoundError, SourceError
from layercache.oci.documents import check_limit
from layercache.sources.file_section import PartReader, open_file, read_file
from layercache.sources.names import ARCHIVE, LAYOUT
from layercache.sources.opened_archive import OpenedArchive, check_there

if TYPE_CHECKING:
    Section = tuple[int, int]
    """Offset of the first byte, and size in bytes."""

INDEX = "index.json"


class LayoutFiles(Protocol):
    """What a layout consists of. Thread-safe."""

    @property
    def name(self) -> str:
        """The layout with its transport: ``oci:/srv/layout``."""

    def place(self, path: str) -> str:
        """A file of the layout, for messages."""

    def open(self, path: str, what: str) -> tuple[int, Section]:
        """A file descriptor, for the caller to close, and where in it a file of the layout is.

        Raises `NotFoundError`, `SourceError`.
        """

    def read(self, path: str, limit: int, what: str) -> bytes:
        """A small file, whole. Raises `FormatError` for one of more than ``limit`` bytes."""

    def close(self) -> None: ...


class FolderFiles:
    """The files of a folder, as they are at each moment."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        return f"{LAYOUT}{self._folder}"

    def place(self, path: str) -> str:
        return os.path.join(self._folder, path)

    def open(self, path: str, what: str) -> tuple[int, Section]:
        fd, size = open_file(self.place(path), what)
        return fd, (0, size)

    def read(self, path: str, limit: int, what: str) -> bytes:
        return read_file(self.place(path), limit, what)

    def close(self) -> None:
        pass


class ArchiveFiles:
    """The members of a tar, which is looked through at the first question, and kept open until `close`.

    The lock guards the opened archive: the first thread opens it, and others wait, since a pipe can be read
    only once. Members are read without it.
    """

    def __init__(self, path: str, name: str) -> None:
        check_there(path, name)
        self.name = name
        self._path = path
        self._archive: OpenedArchive | None = None
        self._lock = threading.Lock()

    def place(self, path: str) -> str:
        return f"{path} in {self._path}"

    def open(self, path: str, what: str) -> tuple[int, Section]:
        with self._lock:
            archive = self._archive = self._archive or self._opened()
            if path not in archive.members:
                raise NotFoundError(f"{what} is not there", looked_in=[self.place(path)])
            member = archive.members.find(path)
            return os.dup(archive.fd), (member.start, member.size)

    def _opened(self) -> OpenedArchive:
        archive = OpenedArchive(self._path, self.name)
        if INDEX in archive.members:
            return archive
        saved = "manifest.json" in archive.members
        archive.close()
        hint = f"it is one of docker save: {ARCHIVE}{self._path}" if saved else f"it has no {INDEX}"
        raise SourceError(f"{self.name} is not an archive of an OCI layout", hint=hint)

    def read(self, path: str, limit: int, what: str) -> bytes:
        fd, (start, size) = self.open(path, what)
        with PartReader(fd, start, start + size, what) as reader:
            check_limit(what, size, limit)
            return reader.read()

    def close(self) -> None:
        with self._lock:
            if self._archive is not None:
                self._archive.close()
                self._archive = None
