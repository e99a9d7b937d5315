"""A file of an image or a layer, as fsspec's programs expect one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem


class OpenFile(io.BufferedReader):
    """A seekable binary stream with the attributes that fsspec's files have: ``fs``, ``path``, ``size``.

    Can be pickled: it is opened again at its position.
    """

    def __init__(
        self, stream: io.BufferedReader, fs: AbstractFileSystem, path: str, size: int, buffer: int
    ) -> None:
        super().__init__(stream.detach(), buffer)
        self.fs = fs
        self.path = path
        self.size = size
        self.blocksize = buffer

    @property
    def mode(self) -> str:
        return "rb"

    @property
    def full_name(self) -> str:
        return str(self.fs.unstrip_protocol(self.path))

    @property
    def details(self) -> dict[str, Any]:
        return self.info()

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self.fs.info(self.path)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.fs, self.path, self.blocksize, self.tell())


def _reopened(fs: AbstractFileSystem, path: str, buffer: int, position: int) -> OpenFile:
    file: OpenFile = fs.open(path, "rb", block_size=buffer)
    file.seek(position)
    return file
