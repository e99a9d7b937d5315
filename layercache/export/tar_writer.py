"""Writes tar archives of layers, into files and into pipes."""

from __future__ import annotations

import os
import tarfile
from functools import partial
from typing import TYPE_CHECKING, cast

from layercache.errors import ConfigError, DigestMismatchError
from layercache.export.files import copy_checked, until_right
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.tier_writer import WrongEntryError
from layercache.streams.hashing import chunks
from layercache.streams.readers import verified

if TYPE_CHECKING:
    from typing import BinaryIO

    from layercache.backend import Reader
    from layercache.layer import Layer
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.streams.named_file import NamedFile


class TarWriter:
    """Writes the members of one archive. ``count`` and ``size``: members so far, and their bytes.

    Each layer is hashed while it is written. In a rewindable file the header of a layer is written last, and
    a layer that turns out to be corrupt is written again from elsewhere. A pipe needs the header first: if
    the size of a tar is not known, the layer is inflated once more, to count. A corrupt layer ends a pipe in
    the middle of the member, so that no reader takes the archive for complete.
    """

    def __init__(self, file: NamedFile) -> None:
        if file.isatty():
            raise ConfigError(
                f"refusing to write an archive to a terminal ({file.name})",
                hint="pipe it into a program (… | docker load), or name a file",
            )
        self._file = file
        self.count = 0
        self.size = 0

    def add(self, name: str, data: bytes) -> None:
        """Write a small file."""
        self._file.write(_header(name, len(data)))
        self._file.write(data)
        self._finish(len(data))

    def add_layer(self, name: str, layer: Layer, form: Form, expected: Hash, size: int | None = None) -> None:
        """Write a layer in a form, whose hash and ``size`` in bytes, if it is stated, are checked.

        Raises `DigestMismatchError`, `NotFoundError` and what the layer's streams raise.
        """
        write = self._with_header_last if self._file.rewindable else self._with_header_first
        self._finish(write(name, layer, form, expected, size))

    def end(self) -> None:
        """Write the end of the archive."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))

    def _with_header_last(
        self, name: str, layer: Layer, form: Form, expected: Hash, stated: int | None
    ) -> int:
        file, start = self._file, self._file.tell()

        def copy() -> int:
            file.seek(start)
            file.truncate()
            file.write(bytes(tarfile.BLOCKSIZE))
            with _opened(layer, form) as stream:
                return copy_checked(stream, expected, stated, file.write, lambda _: None)

        size = until_right(layer, form, copy)
        end = file.tell()
        file.seek(start)
        file.write(_header(name, size))
        file.seek(end)
        return size

    def _with_header_first(
        self, name: str, layer: Layer, form: Form, expected: Hash, stated: int | None
    ) -> int:
        counted = partial(_size_of, layer, form, expected)
        size = until_right(layer, form, counted) if stated is None else stated
        try:
            with _opened(layer, form) as stream, verified(cast("Reader", stream), expected, size) as checked:
                self._file.write(_header(name, size))
                for chunk in chunks(checked):
                    self._file.write(chunk)
        except DigestMismatchError as error:
            if not isinstance(error, WrongEntryError):
                layer.doubt(form)
            raise DigestMismatchError(
                error.message, hint="the archive ends in the middle: discard it, and export again"
            ) from error
        return size

    def _finish(self, size: int) -> None:
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))
        self.count += 1
        self.size += size


def _opened(layer: Layer, form: Form) -> BinaryIO:
    return layer.compressed() if form == COMPRESSED else layer.uncompressed()


def _size_of(layer: Layer, form: Form, expected: Hash) -> int:
    """Bytes of a form: of the file that a tier has, as counted earlier, or by reading all of it now."""
    with _opened(layer, form) as stream:
        if stream.seekable():
            return stream.seek(0, os.SEEK_END)
        if form == UNCOMPRESSED and layer.computed and layer.uncompressed_size is not None:
            return layer.uncompressed_size
        return copy_checked(stream, expected, None, lambda _: None, lambda _: None)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)
