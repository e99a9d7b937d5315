"""Files that list images: one a line, with comments; and lock files, in which every name has a digest."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import ConfigError, InvalidNameError
from layercache.oci.reference import Reference
from layercache.pull.patterns import split_pattern
from layercache.sources.names import registry_reference
from layercache.streams.named_file import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIST_MAX = 4 << 20
"""Bytes of a list at most: some 40,000 images."""

_COMMENT = re.compile(r"(?:^|\s)#.*")


def read_list(source: str | os.PathLike[str] | BinaryIO, where: str = "") -> list[str]:
    """Return the names of images in a list, each once. ``where`` is the name of a stream in messages.

    Raises `ConfigError` for a line that is not the name of an image, or a pattern of tags, `OSError`.
    """
    return list(dict.fromkeys(_checked(source, where, _check_name)))


def read_lock(source: str | os.PathLike[str] | BinaryIO, where: str = "") -> list[Reference]:
    """Return the images of a lock file. Raises `ConfigError` for a line without a digest, `OSError`."""
    return [Reference.parse(line) for line in dict.fromkeys(_checked(source, where, _check_locked))]


def write_lock(path: str | os.PathLike[str], references: Iterable[Reference]) -> bool:
    """Write a lock file, completely or not at all; return whether it changed. ``-`` is stdout.

    One ``NAME:TAG@DIGEST`` a line, sorted, so that the same images always give the same bytes. Raises as
    `writing`.
    """
    path = os.fspath(path)
    data = "".join(f"{line}\n" for line in sorted({str(each) for each in references})).encode()
    if os.path.isfile(path):  # what is not a file cannot be read back: a pipe, a device
        with suppress(OSError), open(path, "rb") as old:
            if old.read(len(data) + 1) == data:
                return False
    with writing(path) as file:
        file.write(data)
        file.sync()
    return True


def _checked(
    source: str | os.PathLike[str] | BinaryIO, where: str, check: Callable[[str], object]
) -> Iterator[str]:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield from _checked(file, os.fspath(source), check)
        return
    problems = []
    for number, line in _lines(source, where):
        try:
            check(line)
        except ConfigError as error:
            problems.append((f"{where}:{number}: {error.message}", error.hint))
        else:
            yield line
    if problems:
        (message, hint), more = problems[0], len(problems) - 1
        raise ConfigError(f"{message}{f' (and {more} more lines)' if more else ''}", hint=hint)


def _lines(file: BinaryIO, where: str) -> Iterator[tuple[int, str]]:
    data = file.read(LIST_MAX + 1)
    if len(data) > LIST_MAX:
        raise ConfigError(f"{where} has more than {LIST_MAX} bytes", hint="name a list of images, one a line")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is not UTF-8 text", hint="name a list of images, one a line") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if name := _COMMENT.sub("", line).strip():
            yield number, name


def _check_name(line: str) -> None:
    if line.split() != [line]:
        raise InvalidNameError(f"not an image: {line!r}", hint="one image a line; a comment begins with #")
    if split_pattern(line) is None:
        registry_reference(line)


def _check_locked(line: str) -> None:
    if Reference.parse(line).digest is None:
        raise InvalidNameError(f"{line} has no digest", hint="write the file with pull --lock FILE")
