"""Stacks of layers in memory, for tests of the merged view: tables without a cache."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from layercache.files.layer_tar import LayerTar
from layercache.files.merged import ImageFiles
from layercache.index.entry import FileEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.backend import Reader
    from layercache.index.table import FileTable


class Listed(LayerTar):
    """A layer whose entries are given; counts how often its table was read."""

    def __init__(self, entries: Sequence[FileEntry], tar: bytes = b"", called: str = "sha256:listed") -> None:
        self.called = called
        self.placed = self.direct = None
        self.forgotten = 0
        self._entries = entries
        self._bytes = tar
        self.read_table = 0
        self.looked = 0
        self.opened: list[tuple[int, int]] = []

    @property
    def name(self) -> str:
        return self.called

    @property
    def blob(self) -> str:
        return self.called

    def forget(self) -> None:
        self.forgotten += 1
        self.placed = self.direct = None

    @property
    def table(self) -> FileTable:
        self.read_table += 1
        return cast("FileTable", self._entries)

    def is_read_in_parts(self, size: int) -> bool:
        return True

    def look(self) -> None:
        self.looked += 1

    def read(self, start: int, end: int) -> Reader:
        self.opened.append((start, end))
        return cast("Reader", io.BytesIO(self._bytes[start:end]))


def folder(path: str, mode: int = 0o755) -> FileEntry:
    return FileEntry(path, "directory", mode=mode)


def file(path: str, size: int = 1, offset: int = 512) -> FileEntry:
    return FileEntry(path, size=size, offset=offset)


def link(path: str, target: str) -> FileEntry:
    return FileEntry(path, "symlink", link=target, mode=0o777)


def hard(path: str, target: str) -> FileEntry:
    return FileEntry(path, "hardlink", link=target)


def mark(path: str) -> FileEntry:
    return FileEntry(path, size=0)


def stack(*layers: list[FileEntry]) -> ImageFiles:
    """An image of these layers, lowest first."""
    return ImageFiles([Listed(entries) for entries in layers])


def shown(view: ImageFiles) -> list[str]:
    """Every path of the image, folders with "/" at the end, links with their targets."""
    texts = {"directory": "{0.path}/", "symlink": "{0.path} -> {0.link}", "hardlink": "{0.path} => {0.link}"}
    return [texts.get(each.entry.type, "{0.path}").format(each.entry) for each in view]
