"""Writes files of an image, or of a layer, into a folder."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from layercache.files.destination import Destination, OpenFolders, move
from layercache.files.new_files import NewFiles
from layercache.files.tar_cursor import TarCursor
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from layercache.files.layer_tar import LayerTar
    from layercache.files.merged import ImageFile
    from layercache.files.restore import Restore
    from layercache.files.wanted import Run, Wanted
    from layercache.index.entry import FileEntry


class Extracted(Value, frozen=True):
    """What was written. ``files``: how many files, one of several names once; ``size``: their bytes;
    ``skipped``: paths of devices and pipes, which are made only if that is asked for.
    """

    files: int
    size: int
    skipped: tuple[str, ...] = ()


def extract(
    wanted: Wanted,
    destination: str | os.PathLike[str],
    restore: Restore,
    progress: Callable[[int], object],
) -> Extracted:
    """Write what is wanted of an image into a folder. ``progress``: see `Image.extract`.

    Each tar is read at most once, in order, and only up to the last byte that is wanted.
    """
    with Destination(os.fspath(destination)) as folder:
        run = _Run(wanted.layers, folder, restore, progress)
        made = run.make_folders(wanted.folders)
        run.write(wanted)
        folder.publish()
        chosen = made.union(wanted.chosen)
        # Of a folder that was there before, the image says nothing that only implies it.
        folders = [each for each in wanted.folders if each.path in (made if each.implied else chosen)]
        run.restore_folders(folders)
    skipped = () if restore.devices else tuple(each.path for each in wanted.nodes)
    return Extracted(len(wanted), wanted.size, skipped)


class _Run:
    """One extraction, after it is known what is wanted.

    Folders are made by the caller's thread, then files by several; folders get their modes and times once
    nothing is written into them any more. The first error stops all threads, each after the batch it is at.
    """

    def __init__(
        self,
        layers: Sequence[LayerTar],
        folder: Destination,
        restore: Restore,
        progress: Callable[[int], object],
    ) -> None:
        self._layers = layers
        self._folder = folder
        self._restore = restore
        self._new_files = NewFiles(folder, restore, progress)
        self._is_stopped = False

    def make_folders(self, folders: Sequence[ImageFile]) -> set[str]:
        """Make what is missing; return the paths of what was."""
        made = {""} if self._folder.created else set()
        with OpenFolders(self._folder) as opened:
            for each in folders:
                with self._folder.errors(each.path):
                    if each.path and opened.make(each.path):
                        made.add(each.path)
        return made

    def restore_folders(self, folders: Sequence[ImageFile]) -> None:
        """Give folders their modes and times, those within before those above."""
        with OpenFolders(self._folder) as opened:
            for each in reversed(folders):
                with self._folder.errors(each.path):
                    if not each.implied:
                        self._restore.apply(opened.folder(each.path), each.entry)
                    else:
                        os.fchmod(opened.folder(each.path), each.entry.mode)

    def write(self, wanted: Wanted) -> None:
        """Write all that is not a folder, in as many threads as there are cores."""
        runs = list(wanted.runs())
        one = len(runs) == 1
        with ThreadPoolExecutor(min(len(runs) + 1, _threads())) as pool:
            running: list[Future[None]] = []
            try:
                running.extend(pool.submit(self._write_run, run, wanted.others, one) for run in runs)
                running.append(pool.submit(self._write_others, wanted))
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                self._is_stopped = True
        for each in running:
            each.result()

    def _write_run(self, run: Run, others: Mapping[str, Sequence[str]], is_only_one: bool) -> None:
        if self._is_stopped:  # nothing is fetched for it any more
            return
        layer = self._layers[run.layer]
        whole = layer.read_ahead if is_only_one else layer.read_in_pass  # else cores have enough to do
        read = whole if run.in_pass else layer.read
        start = run.files[0].offset
        with OpenFolders(self._folder) as opened, TarCursor(read(start, run.end), start, layer.name) as tar:
            for files in self._new_files.batches(run.files, others):
                if self._is_stopped:
                    return
                if len(files) > 1:
                    self._new_files.make_small(files, opened, tar)
                else:
                    self._write_file(files[0], others.get(files[0].path, ()), opened, tar)

    def _write_file(
        self, file: FileEntry, others: Sequence[str], opened: OpenFolders, tar: TarCursor
    ) -> None:
        """Write a file with all its names."""
        try:
            if others or self._folder.is_merged(file.path):
                self._write_in_private(file, others, opened, tar)
            else:  # its name is not visible yet
                self._new_files.make(*opened.above(file.path), file, tar)
        except OSError as error:
            raise self._folder.failed(file.path, error) from error

    def _write_in_private(
        self, file: FileEntry, others: Sequence[str], opened: OpenFolders, tar: TarCursor
    ) -> None:
        """Write a file, and give it its names once it is complete."""
        part, parts = self._folder.new_name(), self._folder.parts
        self._new_files.make(parts, part, file, tar)
        for other in others:
            with self._folder.errors(other):
                link = self._folder.new_name()
                os.link(part, link, src_dir_fd=parts, dst_dir_fd=parts)
                move(parts, link, *opened.above(other))
        move(parts, part, *opened.above(file.path))

    def _write_others(self, wanted: Wanted) -> None:
        """Write symbolic links, and devices if they are wanted."""
        nodes = wanted.nodes if self._restore.devices else []
        with OpenFolders(self._folder) as opened:
            for each in (*wanted.links, *nodes):
                if self._is_stopped:
                    return
                make = self._restore.make_symlink if each.entry.type == "symlink" else self._restore.make_node
                with self._folder.errors(each.path):
                    name = self._folder.new_name()
                    make(each.entry, name, self._folder.parts)
                    move(self._folder.parts, name, *opened.above(each.path))


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(cores, 8))
