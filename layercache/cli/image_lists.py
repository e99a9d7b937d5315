"""Images that a command takes from files, as well as from its command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable


def names_in(files: Iterable[BinaryIO]) -> list[str]:
    """Return the images, and patterns of tags, that files list, one a line. Raises `ConfigError`."""
    from layercache.pull import lists

    return [name for file in files for name in lists.read_list(file, file_name(file))]


def file_name(file: BinaryIO) -> str:
    """A file's name for messages; stdin may have none."""
    return str(getattr(file, "name", "-"))
