"""Lists the objects of a local store."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import SMALL_OBJECT, is_key
from layercache_backends.local.folders import PLAIN, RESERVED, open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache_backends.local.folders import Store

_T = TypeVar("_T")

PIECE = 4096
"""Bytes read at once from a small object; a record has some hundred."""


def walk(store: Store, prefix: str, read: Callable[[str, int], _T | None]) -> Iterator[tuple[str, _T]]:
    """Yield each object below a prefix, and what ``read`` returns for its name and its folder's descriptor.

    Objects for which that is None, and what vanishes in between, are skipped. Raises `BackendError`.
    """
    # One open folder per level, so memory does not grow with the number of objects.
    stack: list[_Level] = []
    try:
        _descend(stack, prefix, lambda: store.folders.listed(prefix[:-1]))
        while stack:
            level = stack[-1]
            prefix, folder = level.prefix, level.folder
            for item in level.items:
                name = item.name
                if not is_key(key := prefix + name) or key in RESERVED:
                    continue
                if item.is_file(follow_symlinks=False):
                    try:
                        found = read(name, folder)
                    except FileNotFoundError:  # it vanished since the folder was read
                        continue
                    if found is not None:
                        yield key, found
                elif item.is_dir(follow_symlinks=False):
                    _descend(stack, f"{key}/", partial(open_folder, name, folder))
                    break
            else:
                stack.pop().close()
    except OSError as error:
        raise store.failure(f"listing {prefix or 'everything'}", error) from error
    finally:
        for level in stack:
            level.close()


def content(name: str, folder: int) -> bytes | None:
    """Return the content of a small file; None if it is not small. Avoids a file object, which would take
    longer than everything else.
    """
    file = os.open(name, PLAIN, dir_fd=folder)
    try:
        return content_of(file)
    finally:
        os.close(file)


def content_of(file: int) -> bytes | None:
    """As `content`, of an open file."""
    data = part = os.read(file, PIECE)
    while len(part) == PIECE and len(data) <= SMALL_OBJECT:
        data += (part := os.read(file, PIECE))
    return data if len(data) <= SMALL_OBJECT else None


def _descend(stack: list[_Level], prefix: str, enter: Callable[[], int]) -> None:
    try:
        folder = enter()
    except (FileNotFoundError, NotADirectoryError):
        return  # an empty cache, or a folder that another tool removed in between
    stack.append(_Level(prefix, folder))


class _Level:
    """A folder that is being listed: the prefix of its keys, its descriptor, its remaining entries."""

    def __init__(self, prefix: str, folder: int) -> None:
        self.prefix = prefix
        self.folder = folder
        self.items = os.scandir(folder)

    def close(self) -> None:
        self.items.close()
        os.close(self.folder)
