"""A folder into which files are extracted, by descriptors of folders alone: no link leads out of it.

Each part of a path is opened relative to the folder before it, and never through a symbolic link, so another
process that plants links cannot lead a file elsewhere. What is new at the top of the destination is made in a
private folder in it, and renamed once all of it is complete. Inside a folder that was there before, each file
is made in the private folder, and renamed when it is complete. So an interruption leaves no part of a file
under its name.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import shutil
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Self

from layercache.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

OPEN_FOLDERS = 64
"""Descriptors of folders that one thread keeps open."""

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or extract to another disk",
    errno.EDQUOT: "the disk quota is exhausted: free some space, or extract to another disk",
}


class Destination:
    """The folder, and a private one in it (mode 700) for what is not complete.

    It is made, its folders are made and it is published by one thread. In between, any number of threads make
    files, each with its own `OpenFolders`. What they read here of folders does not change then, only one of
    them asks what a file at the top replaces, and the next number for a name is taken in one step of the
    interpreter.
    """

    def __init__(self, path: str) -> None:
        """Open the folder, and make it if it is missing, with the folders above it."""
        self.path = path
        self._merged: dict[str, bool] = {}
        self._numbers = itertools.count()
        with self.errors(""), ExitStack() as opened:
            self.created = not os.path.isdir(path)
            try:
                os.makedirs(path, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                hint = "name a folder, or one that is to be made"
                raise ConfigError(
                    f"cannot write {_printable(path)}: it is not a folder", hint=hint
                ) from error
            # The user may name a link; below it none is followed.
            self.root = _opened(opened, path, None, FOLDER & ~os.O_NOFOLLOW)
            stage = f".layercache-{secrets.token_hex(4)}"
            os.mkdir(stage, 0o700, dir_fd=self.root)
            opened.callback(_remove, os.rmdir, stage, self.root)
            inside = _opened(opened, stage, self.root)
            for name in ("new", "parts"):
                os.mkdir(name, 0o700, dir_fd=inside)
                opened.callback(_remove, shutil.rmtree, name, inside)
            self.new = _opened(opened, "new", inside)
            """What will be new at the top of the destination."""
            self.parts = _opened(opened, "parts", inside)
            """Files that get their place when they are complete."""
            self.withheld = _withheld(self.parts)
            """Bits of a mode that a file made here does not get: those of the umask, or of a default ACL."""
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @contextmanager
    def errors(self, place: str) -> Iterator[None]:
        """Errors of the system become `SourceError`, with the path of what cannot be written."""
        try:
            yield
        except OSError as error:
            raise self.failed(place, error) from error

    def failed(self, place: str, error: OSError) -> SourceError:
        """What to raise where a place cannot be written."""
        path = os.path.join(self.path, place) if place else self.path
        return SourceError(
            f"cannot write {_printable(path)}: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0, ""),
        )

    def is_merged(self, place: str) -> bool:
        """Whether the first part of this place is a folder in the destination, so that files go into it."""
        top = place.partition("/")[0]
        known = self._merged.get(top)
        if known is None:
            with self.errors(top):
                known = self._merged[top] = not top or _is_folder(raw(top), self.root)
        return known

    def new_name(self) -> str:
        """A name in `parts` that nothing else has."""
        return str(next(self._numbers))

    def publish(self) -> None:
        """Give what is new at the top its name."""
        self._merge(self.new, self.root, "")
        self._merged = dict.fromkeys(self._merged, True)

    def _merge(self, source: int, target: int, place: str) -> None:
        """Move what is in a folder of ours to the one at this place, into folders that are there by now.

        Another extraction may have made them in the meantime.
        """
        for name in os.listdir(source):
            here = f"{place}/{name}" if place else name
            with self.errors(here):
                try:
                    move(source, os.fsencode(name), target, os.fsencode(name))
                except OSError as error:
                    if error.errno not in _NOT_EMPTY or not _is_folder(os.fsencode(name), source):
                        raise
                    with ExitStack() as opened:
                        self._merge(_opened(opened, name, source), _opened(opened, name, target), here)


class OpenFolders:
    """Folders of a destination that one thread has open, those that it has opened last."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._open: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all of them; they are opened again when they are needed."""
        while self._open:
            os.close(self._open.popitem()[1])

    def above(self, place: str) -> tuple[int, bytes]:
        """The folder in which this place is, and its name there.

        The folder is a descriptor that stays open until the next call. Raises `OSError` if it is missing, or
        if a link has taken its place.
        """
        folder, _, name = place.rpartition("/")
        above = self._open.get(folder)
        if above is None:
            above = self.folder(folder) if folder else self._top(place)
        return above, name.encode("utf-8", "surrogateescape")  # as `raw`, for each file

    def folder(self, place: str) -> int:
        """The folder at this place, as `above`."""
        here, missing = place, []
        while here and here not in self._open:
            here, _, name = here.rpartition("/")
            missing.append(name)
        found = self._open[here] if here else self._top(place)
        while missing:
            name = missing.pop()
            found = os.open(raw(name), FOLDER, dir_fd=found)
            here = f"{here}/{name}" if here else name
            self._open[here] = found
            if len(self._open) > OPEN_FOLDERS:
                os.close(self._open.pop(next(iter(self._open))))
        return found

    def make(self, place: str) -> bool:
        """Make a folder, in place of what is no folder; return False if there is one already."""
        above, name = self.above(place)
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if _is_folder(name, above):
                return False
            os.unlink(name, dir_fd=above)
            os.mkdir(name, 0o700, dir_fd=above)
        return True

    def _top(self, place: str) -> int:
        merged = self._destination.is_merged(place)
        return self._destination.root if merged else self._destination.new


def raw(name: str) -> bytes:
    """A name out of a tar as it stands there, which is UTF-8 in most of them, whatever the locale says."""
    return name.encode("utf-8", "surrogateescape")


def move(source: int, name: str | bytes, target: int, new: bytes) -> None:
    """Rename, in place of anything but a folder that is not empty. ``source``, ``target``: folders."""
    try:
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    except IsADirectoryError:
        os.rmdir(new, dir_fd=target)
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    except NotADirectoryError:
        os.unlink(new, dir_fd=target)
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)


def _printable(path: str) -> str:
    return raw(path).decode(errors="replace")


def _is_folder(name: bytes, above: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _withheld(folder: int) -> int:
    """Bits of a mode that a new file does not get. (No call returns the umask and leaves it as it is.)"""
    probe = os.open("probe", NEW_FILE, 0o777, dir_fd=folder)
    try:
        return 0o777 & ~os.fstat(probe).st_mode
    finally:
        os.close(probe)
        os.unlink("probe", dir_fd=folder)


def _opened(stack: ExitStack, name: str, above: int | None, flags: int = FOLDER) -> int:
    folder = os.open(name, flags, dir_fd=above)
    stack.callback(os.close, folder)
    return folder


def _remove(how: Callable[..., object], name: str, above: int) -> None:
    """Remove a folder. By its name only where nobody else can give that to another one, or if it is empty."""
    with suppress(OSError):
        how(name, dir_fd=above)
