"""Writes to what the user named: a regular file is replaced as a whole, anything else is written in place.

A name such as ``/dev/stdout`` may lead to a terminal, a pipe, a socket or a device. To write a file next to
it and rename that would replace the device, for every program on the machine.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

STDOUT = "-"

LINKS_MAX = 40
"""Links that are followed from a name, as on Linux (path_resolution(7))."""

RESERVED_FROM = 8 << 20
"""Size of a file, in bytes, from which on it pays to reserve room for it."""


class NamedFile:
    """A file that is open for writing. Errors of the system become `SourceError` with its ``name``.

    `BrokenPipeError` is not translated: the reader of a pipe may close it. ``rewindable``: what was written
    can be replaced until the file is closed, because nobody else sees it yet. ``new``: nothing had its name.
    """

    def __init__(self, file: BinaryIO, name: str, *, rewindable: bool, new: bool = False) -> None:
        self._file = file
        self.name = name
        self.rewindable = rewindable
        self._is_new = new

    def write(self, data: ReadableBuffer, /) -> int:
        with self._errors():
            return self._file.write(data)

    def flush(self) -> None:
        with self._errors():
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, /) -> int:
        """Go to an offset in bytes, if the file is ``rewindable``."""
        with self._errors():
            return self._file.seek(offset)

    def truncate(self) -> None:
        """Drop what follows, if the file is ``rewindable``."""
        with self._errors():
            self._file.truncate()

    def reserve(self, size: int) -> None:
        """Reserve room for so many bytes, if that is possible and saves something.

        Not in place of another file: file systems write the bytes before they rename a file over another one,
        so that a crash does not lose both, but not if the room was reserved (ext4's ``auto_da_alloc``).
        """
        if self._is_new and size >= RESERVED_FROM and sys.platform == "linux":
            from layercache.streams.reserving import reserve

            with suppress(OSError):
                reserve(self._file.fileno(), size)

    def sync(self) -> None:
        """Wait until the disk has the bytes, if this is a new file."""
        if self.rewindable:
            with self._errors():
                self._file.flush()
                os.fsync(self._file.fileno())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _failure(self.name, error) from error


def is_stdout(path: str) -> bool:
    """Whether what is written to this path comes out of this process's standard output."""
    if path == STDOUT:
        return True
    with suppress(OSError, ValueError):
        return os.path.samestat(os.stat(path), os.fstat(1))
    return False


@contextmanager
def writing(path: str) -> Iterator[NamedFile]:
    """Open what a user named for writing; ``-`` is stdout.

    A regular file, or the target of a link to one, gets its name and replaces what was there when the block
    succeeds; if it fails, nothing is left. A device, a pipe, a socket, and an open file that is named as
    ``/dev/fd/N`` are written in place, without seeking. Raises `ConfigError` before a byte is written where
    nothing can be written (a folder), and `SourceError`.
    """
    if path == STDOUT:
        stdout: BinaryIO | None = getattr(sys.stdout, "buffer", None)
        if stdout is None:
            raise ConfigError("stdout is closed, or takes text only", hint="name a file")
        sys.stdout.flush()
        file = NamedFile(stdout, "stdout", rewindable=False)
        yield file
        file.flush()
        return
    with _refusing(path):
        in_place = _open_in_place(path)
    if in_place is None:
        with _replacing(path) as file:
            yield file
        return
    with _closing(in_place, path):
        file = NamedFile(in_place, path, rewindable=False)
        yield file
        file.flush()


@contextmanager
def _replacing(path: str) -> Iterator[NamedFile]:
    """A new file next to the path, which replaces it at the end and keeps its permissions."""
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    unfinished = os.path.join(folder, f".{name[:100]}.{os.getpid()}-{os.urandom(4).hex()}.part")
    with _refusing(path):
        opened = open(unfinished, "xb")  # noqa: SIM115  # closed below
    try:
        with _closing(opened, path):
            with suppress(OSError):
                os.fchmod(opened.fileno(), stat.S_IMODE(os.stat(target).st_mode))
            yield NamedFile(opened, path, rewindable=True, new=not os.path.exists(target))
        try:
            os.replace(unfinished, target)
        except OSError as error:
            raise _failure(path, error) from error
    finally:
        with suppress(OSError):
            os.unlink(unfinished)


@contextmanager
def _refusing(path: str) -> Iterator[None]:
    try:
        yield
    except IsADirectoryError as error:
        hint = f"name a file in it: {os.path.join(path, 'FILE')}"
        raise ConfigError(f"cannot write {path}: it is a folder", hint=hint) from error
    except OSError as error:
        folder = os.path.dirname(os.path.realpath(path))
        hint = "" if os.path.isdir(folder) else f"there is no folder {folder}"
        raise ConfigError(f"cannot write {path}: {error.strerror or error}", hint=hint) from error


@contextmanager
def _closing(file: BinaryIO, name: str) -> Iterator[None]:
    """Close the file at the end; an error of the block is reported rather than one of closing it."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            file.close()
        raise
    try:
        file.close()
    except OSError as error:
        raise _failure(name, error) from error


def _open_in_place(path: str) -> BinaryIO | None:
    """What is not a regular file, opened for writing; None for a regular file and where nothing is."""
    if (number := _own_descriptor(path)) is not None:
        # Not opened again: a socket cannot be, and a file would be written from its beginning.
        try:
            return os.fdopen(os.dup(number), "wb")
        except OverflowError as error:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from error
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if path.endswith(os.sep):
            raise
        return None
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISSOCK(mode):
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            return os.fdopen(connection.detach(), "wb")
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY), "wb")


def _own_descriptor(path: str) -> int | None:
    """N if the path leads to ``/dev/fd/N``, an open file of this process."""
    own = rf"(?:/proc/(?:{os.getpid()})(?:/task/\d+)?|/dev)/fd/(\d+)"
    for _ in range(LINKS_MAX):
        folder, name = os.path.split(os.path.abspath(path))
        path = os.path.join(os.path.realpath(folder), name)
        if "/fd/" in path and (found := re.fullmatch(own, path)):  # to compile it takes longer than all this
            return int(found[1])
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return None
    return None


def _failure(name: str, error: OSError) -> SourceError:
    return SourceError(f"cannot write {name}: {error.strerror or error}")
