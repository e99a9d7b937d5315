"""Types of option values: sizes, ages, samples, paths; and an option of several commands."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from layercache.units import parse_age, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.streams.compress import Compression


class Parsed(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.3
    """A value parsed by a function; its `ValueError` becomes a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Path(click.Path):
    """A path; "~" at its beginning is a home folder, which a shell does not expand in ``--option=~/file``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


class ReadableFile(click.File):
    """A file that is read as bytes; - is stdin."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-" and sys.stdin is None:
            self.fail("- means stdin, which is closed", param, ctx)
        return super().convert(value, param, ctx)


def parse_sample(text: str) -> tuple[float, int | None]:
    """Return (share from 0 to 1, None) or (1, number of objects). Raises `ValueError`."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(%?)", text.strip())
    if found and found[2] and float(found[1]) <= 100:
        return float(found[1]) / 100, None
    if found and found[1].isdigit() and not found[2]:
        return 1.0, int(found[1])
    raise ValueError(f"not a sample: {text!r} (expected a percentage, 5%, or a number, 200)")


def parse_compression(text: str) -> Compression:
    """Return how a tar is compressed: ``zstd:9``. Raises `ValueError`."""
    from layercache.streams.compress import Compression

    return Compression.parse(text)


def parse_glob(text: str) -> str:
    """Return the pattern of paths. Raises `ValueError` for an empty one, as an unset variable gives."""
    if not text:
        raise ValueError("it is empty")
    return text


SIZE = Parsed("size", parse_size)
GLOB = Parsed("glob", parse_glob)
AGE = Parsed("age", parse_age)
SAMPLE = Parsed("sample", parse_sample)
COMPRESSION = Parsed("compression", parse_compression)


def jobs_option(meaning: str) -> Callable[[Any], Any]:
    """``--jobs``, of a command that does several things at the same time."""
    return click.option(
        "--jobs", "-j", type=click.IntRange(1, 64), default=8, show_default=True, help=meaning
    )
