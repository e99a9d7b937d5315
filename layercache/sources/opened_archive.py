"""Opens a tar archive whose members are read in any order: from a file, a pipe, or stdin."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import ExitStack
from typing import BinaryIO, cast

from layercache.errors import ConfigError, NotFoundError, SourceError
from layercache.oci.descriptor import NO_COMPRESSION
from layercache.sources.file_section import PartReader, open_file
from layercache.sources.inflated import InflatedFile, sniff_archive
from layercache.sources.tar_index import Members
from layercache.streams.borrowed import BorrowedReader
from layercache.streams.readers import HEAD, HeadReader

STDIN = "-"


class OpenedArchive:
    """The file of an archive and its members. It is open until `close`, or nothing uses it any more; not
    thread-safe.

    An archive that is compressed as a whole, or comes through a pipe, is inflated or copied once into a
    temporary file without a name. ``inflated`` is that file, for what else has to be inflated. ``what`` names
    the archive in messages. Raises `NotFoundError`, `SourceError`, `FormatError`, `LimitError`.
    """

    def __init__(self, path: str, what: str) -> None:
        self._opened = ExitStack()
        self.inflated = InflatedFile()
        with ExitStack() as opened:
            opened.callback(self.inflated.close)
            self.fd, size = self._stream(path, what) or self._file(opened, path, what)
            self.members = Members.read(self.fd, size, what)
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    def __del__(self) -> None:
        self.close()

    def _file(self, opened: ExitStack, path: str, what: str) -> tuple[int, int]:
        fd, size = open_file("/dev/fd/0" if path == STDIN else path, what)
        opened.callback(os.close, fd)
        compression = sniff_archive(os.pread(fd, HEAD, 0))
        if compression in (None, NO_COMPRESSION):
            return fd, size
        fd, whole = self.inflated.append(PartReader(os.dup(fd), 0, size), compression, what)
        return fd, whole.size

    def _stream(self, path: str, what: str) -> tuple[int, int] | None:
        """What can be read only once, copied; None for a regular file."""
        if path == STDIN:
            return None if _is_file_at_its_beginning(sys.stdin.buffer) else self._copy(sys.stdin.buffer, what)
        mode = _status(path, what).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return None
        try:
            with open(path, "rb", buffering=0) as file:
                return self._copy(cast("BinaryIO", file), what)
        except OSError as error:
            raise SourceError(f"{what}: cannot read {path}: {error.strerror}") from error

    def _copy(self, file: BinaryIO, what: str) -> tuple[int, int]:
        head = HeadReader(BorrowedReader(file))
        if not head.head:
            raise SourceError(f"{what} is empty", hint="a pipe can be read only once")
        compression = sniff_archive(head.head) or NO_COMPRESSION
        fd, whole = self.inflated.append(head, compression, what)
        return fd, whole.size


def _is_file_at_its_beginning(file: BinaryIO) -> bool:
    try:
        return file.fileno() == 0 and stat.S_ISREG(os.fstat(0).st_mode) and not file.tell()
    except OSError:  # the program has replaced sys.stdin with another object
        return False


def check_there(path: str, what: str) -> None:
    """Raise `NotFoundError`, `SourceError` or `ConfigError` unless an archive can be there. Reads nothing."""
    if path == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigError(
                f"{what} means stdin, which is a terminal or closed", hint="pipe an archive into it"
            )
        return
    mode = _status(path, what).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        fd, _ = open_file(path, what)
        os.close(fd)


def _status(path: str, what: str) -> os.stat_result:
    if "\0" in path:  # out of a list of images: no argument has one
        raise NotFoundError(f"{what!r} is not there", hint="a path has no NUL byte")
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} is not there", looked_in=[path]) from error
    except OSError as error:
        raise SourceError(f"{what}: cannot read {path}: {error.strerror}") from error
