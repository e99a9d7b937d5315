"""Makes regular files of an image, out of a tar: their bytes, modes, times, owners and attributes.

Several threads make files, but only one at a time runs Python, and to wait for that takes longer than to make
a small file. So small files that need nothing special are made many at once, by one loop with little in it.
"""

from __future__ import annotations

import os
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError
from layercache.files.destination import NEW_FILE, raw
from layercache.files.tar_cursor import CHUNK, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from hashlib import _Hash as Hasher

    from layercache.files.destination import Destination, OpenFolders
    from layercache.files.restore import Restore
    from layercache.files.tar_cursor import TarCursor
    from layercache.index.entry import FileEntry

ZEROS = bytes(1 << 20)


class NewFiles:
    """What makes files in a destination, for any number of threads. ``progress``: see `Image.extract`."""

    def __init__(self, destination: Destination, restore: Restore, progress: Callable[[int], object]) -> None:
        self._destination = destination
        self._restore = restore
        self._progress = progress
        self._by_chmod = 0o7000 | destination.withheld  # bits of a mode that a file is not made with

    def batches(self, files: Sequence[FileEntry], apart: Container[str]) -> Iterator[Sequence[FileEntry]]:
        """The files in their order, those together that `make_small` takes, every other one by itself.

        Those are within `CHUNK` bytes of the tar. The paths ``apart`` are not among them, nor what would be
        visible before it is complete.
        """
        by_chmod, is_merged = self._by_chmod, self._destination.is_merged
        first, end, here, is_visible = 0, -1, "", True
        for at, each in enumerate(files):
            folder = each.path.rpartition("/")[0]
            if folder != here:
                here, is_visible = folder, not folder or is_merged(each.path)
            is_special = (
                is_visible
                or each.mode & by_chmod
                or each.xattrs
                or each.sparse is not None
                or each.path in apart
            )
            if is_special or each.offset + each.size > end:
                if at > first:
                    yield files[first:at]
                first, end = at, -1 if is_special else each.offset + CHUNK
        yield files[first:]

    def make_small(self, files: Sequence[FileEntry], opened: OpenFolders, tar: TarCursor) -> None:
        """Make the files of a batch. Raises `SourceError` for the one that cannot be written."""
        start = files[0].offset
        data = tar.take(start, files[-1].offset + files[-1].size - start)
        is_verified, owners, here, above = tar.is_verified, self._restore.owners, "", -1
        for entry in files:
            folder, _, name = entry.path.rpartition("/")
            piece = data[entry.offset - start : entry.offset - start + entry.size]
            if entry.sha256 and not is_verified:
                _compare(entry, sha256(piece))
            try:
                if folder != here:
                    here, above = folder, opened.folder(folder)
                file = os.open(raw(name), NEW_FILE, entry.mode, dir_fd=above)
                try:
                    write_all(file, piece, 0)
                    if owners:
                        os.fchown(file, entry.uid, entry.gid)
                    os.utime(file, ns=(entry.mtime, entry.mtime))
                finally:
                    os.close(file)
            except OSError as error:
                raise self._destination.failed(entry.path, error) from error
        self._progress(sum(map(attrgetter("size"), files)))

    def make(self, folder: int, name: str | bytes, entry: FileEntry, tar: TarCursor) -> None:
        """Make any file. Raises `OSError`."""
        has_mode = not (entry.mode & self._by_chmod or entry.xattrs)  # only who may write to it sets these
        file = os.open(name, NEW_FILE, entry.mode if has_mode else 0o600, dir_fd=folder)
        try:
            self._copy(entry, tar, file)
            self._restore.apply(file, entry, has_mode=has_mode)
        finally:
            os.close(file)

    def _copy(self, entry: FileEntry, tar: TarCursor, file: int) -> None:
        """Write the bytes of an entry, and leave its holes."""
        if entry.sparse is None and entry.size <= CHUNK:
            data = tar.take(entry.offset, entry.size) if entry.size else memoryview(b"")
            if entry.sha256 and not tar.is_verified:
                _compare(entry, sha256(data))
            write_all(file, data, 0)
            self._progress(len(data))
        elif not tar.is_verified:
            self._copy_hashed(entry, tar, file)
        else:
            at = entry.offset
            for start, length in ((0, entry.size),) if entry.sparse is None else entry.sparse:
                for count in tar.copy(at, length, file, start):
                    self._progress(count)
                at += length
        if entry.sparse is not None:
            os.ftruncate(file, entry.size)

    def _copy_hashed(self, entry: FileEntry, tar: TarCursor, file: int) -> None:
        """Write the bytes of an entry, and compare its sha256 where that is known."""
        hashed, position, at = sha256(), 0, entry.offset
        for start, length in ((0, entry.size),) if entry.sparse is None else entry.sparse:
            if entry.sha256:
                _hash_zeros(hashed, start - position)
            position = start
            for piece in tar.pieces(at, length):
                hashed.update(piece)
                write_all(file, piece, position)
                position += len(piece)
                self._progress(len(piece))
            at += length
        if entry.sha256:
            _hash_zeros(hashed, entry.size - position)
            _compare(entry, hashed)


def _compare(entry: FileEntry, hashed: Hasher) -> None:
    if (found := hashed.hexdigest()) != entry.sha256:
        raise DigestMismatchError(
            f"{entry.path} has the sha256 {found} instead of {entry.sha256}",
            hint="layercache verify finds what is corrupt",
        )


def _hash_zeros(hashed: Hasher, count: int) -> None:
    while count > 0:
        hashed.update(ZEROS[:count])
        count -= len(ZEROS)
