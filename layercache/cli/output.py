"""Output on stdout: lines, JSON, and how sizes, hashes and times are written."""

from __future__ import annotations

import io
import sys
import time
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from layercache.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.oci.digest import Hash

UNKNOWN = "-"
SHORT = 12
"""Hex digits of a shortened hash, as in Docker's output."""


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return terminal.is_terminal(sys.stdout)


SIZE_WIDTH = 9


def written(text: str) -> None:
    """Write one line without flushing: a terminal shows it at once, a pipe gets many lines together."""
    terminal.screen.lend()
    if sys.stdout is not None:
        sys.stdout.write(f"{text}\n")


@contextmanager
def in_blocks() -> Iterator[None]:
    """Inside the block, have lines go out many together, unless to a terminal.

    ``PYTHONUNBUFFERED``, which is common in containers, makes each line a system call of its own.
    """
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper) or not out.write_through or out.isatty():
        yield
        return
    out.flush()
    # It has no buffer below, so what a system call does not take of a block would be lost: another has one.
    with (
        open(out.fileno(), "w", encoding=out.encoding, errors=out.errors, closefd=False) as blocks,
        redirect_stdout(blocks),
    ):
        yield


def flush() -> None:
    """Send what `written` holds back. A closed stdout is reported when the command ends."""
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()


def short(name: Hash) -> str:
    """Return twelve hex digits, prefixed by the algorithm unless it is sha256."""
    digits = name.hex[:SHORT]
    return digits if name.algorithm == "sha256" else f"{name.algorithm}:{digits}"


def human(size: int) -> str:
    """Format bytes in powers of 1000: ``3.6 MB``."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def exact(size: int) -> str:
    """Format bytes as `human` does, and add their number if stdout is not a terminal."""
    return human(size) if is_terminal() else f"{human(size)} ({size} bytes)"


def age(seconds: float) -> str:
    """Format seconds in the largest unit that divides them: ``30d``, ``90m``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"


def when(seconds: float, *, whole: bool) -> str:
    """Format a time (seconds since the epoch; 0 if it is unknown): in UTC if ``whole``, else as an age."""
    if not seconds:
        return UNKNOWN
    if whole:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    return ago(time.time() - seconds)


def ago(seconds: float) -> str:
    """Format an age in its largest unit: ``2 hours ago``."""
    for unit, length in (
        ("year", 31536000),
        ("week", 604800),
        ("day", 86400),
        ("hour", 3600),
        ("minute", 60),
    ):
        if seconds >= length:
            return f"{count(int(seconds // length), unit)} ago"
    return "now" if seconds < 10 else f"{seconds:.0f} seconds ago"


def count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def document(data: Any) -> None:
    """Print one indented JSON document. A value becomes an object of its fields."""
    import json

    _print(json.dumps(data, indent=2, default=asdict))


def line(data: Any) -> None:
    """Print one line of JSON Lines, as `document` does."""
    import json

    _print(json.dumps(data, default=asdict))


def _print(text: str) -> None:
    """Print data: never wrapped."""
    import click

    with terminal.screen.printing():
        click.echo(text)
