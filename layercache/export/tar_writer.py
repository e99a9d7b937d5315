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
    from collections.abc import Callable
    from typing import BinaryIO

    from layercache.backend import Reader
    from layercache.layer import Layer
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.streams.named_file import NamedFile


class Progress:
    """Reports how much of a layer was written, as bytes of its blob, whichever form that is written in."""

    def __init__(self, layer: Layer, whole: int, seen: Callable[[int], object]) -> None:
        self.layer = layer
        self._whole = whole
        self._seen = seen
        self._total: int | None = None
        self._done = 0
        self._reported = 0

    def begin(self, total: int | None) -> None:
        """Start, or start again, to write ``total`` bytes; None if that is not known."""
        self._total, self._done = total, 0
        self._report(0)

    def passed(self, count: int) -> None:
        self._done += count
        share = self._done * self._whole // self._total if self._total else self._done
        self._report(min(share, self._whole))

    def end(self) -> None:
        self._report(self._whole)

    def _report(self, now: int) -> None:
        if now != self._reported:
            self._seen(now - self._reported)
            self._reported = now


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

    def add_layer(self, name: str, form: Form, expected: Hash, size: int | None, part: Progress) -> None:
        """Write the layer of a ``part`` in a form, whose hash and ``size`` in bytes, if stated, are checked.

        Raises `DigestMismatchError`, `NotFoundError` and what the layer's streams raise.
        """
        write = self._with_header_last if self._file.rewindable else self._with_header_first
        self._finish(write(name, form, expected, size, part))
        part.end()

    def end(self) -> None:
        """Write the end of the archive."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))

    def _with_header_last(
        self, name: str, form: Form, expected: Hash, stated: int | None, part: Progress
    ) -> int:
        file, start, layer = self._file, self._file.tell(), part.layer

        def copy() -> int:
            file.seek(start)
            file.truncate()
            file.write(bytes(tarfile.BLOCKSIZE))
            with _opened(layer, form) as stream:
                part.begin(stated or layer.uncompressed_size)
                return copy_checked(stream, expected, stated, file.write, part.passed)

        size = until_right(layer, form, copy)
        end = file.tell()
        file.seek(start)
        file.write(_header(name, size))
        file.seek(end)
        return size

    def _with_header_first(
        self, name: str, form: Form, expected: Hash, stated: int | None, part: Progress
    ) -> int:
        layer = part.layer
        counted = partial(_size_of, layer, form, expected)
        size = until_right(layer, form, counted) if stated is None else stated
        try:
            with _opened(layer, form) as stream, verified(cast("Reader", stream), expected, size) as checked:
                self._file.write(_header(name, size))
                part.begin(size)
                for chunk in chunks(checked):
                    self._file.write(chunk)
                    part.passed(len(chunk))
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
