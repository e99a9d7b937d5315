"""Writing to the terminal: words wrapped at its width, colours where they are wanted."""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from layercache.config.environment import colour_wanted, is_dumb, many_colours
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


class Style(Value, frozen=True):
    """``many``: of 256 colours, one that is readable on black and on white; ``few``: of the basic ones."""

    many: int | None = None
    few: str | None = None
    bold: bool = False


# Contrast to white and to black, by WCAG: green 4.6 and 4.6, red 5.1 and 4.1, brown 4.7 and 4.5.
OK = Style(28, "green")
ERROR = Style(160, "red", bold=True)
WARNING = Style(130, "magenta")
TITLE = Style(bold=True)

NARROWEST = 40
"""Columns below which nothing is wrapped: the terminal does that as badly as we would."""

_LABEL = r" *(?:\S+(?: \S+)* {2,})*"
"""What stands before the text of a line, such as ``  hint       ``: later lines are indented by as much."""


_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"


class Overlay(Protocol):
    """What is drawn below the output, and has to go before something is printed."""

    def hide(self) -> None: ...


class Screen:
    """The terminal of this process, which has one. Whoever prints hides the overlay first."""

    # The lock is held while something is printed or drawn, so that the two never mix. It is re-entrant, as an
    # interrupt may print in the middle of printing.

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.overlay: Overlay | None = None
        self.lent = False
        """Whether what reads our pipe may be drawing on the same terminal."""
        self._file: TextIO | None = None

    @contextmanager
    def printing(self) -> Iterator[None]:
        with self.lock:
            if self.overlay is not None:
                self.overlay.hide()
            yield

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Somebody is asked inside the block: nothing is drawn over the question."""
        with self.printing():
            self.lent, lent = True, self.lent
        try:
            yield
        finally:
            self.lent = lent

    def lend(self) -> None:
        """Data goes to stdout from now on, which is the terminal, or a pipe whose reader may print there."""
        if self.lent or (sys.stdout is not None and sys.stdout is self._file):
            return
        if is_pipe(sys.stdout) or is_terminal(sys.stdout):
            with self.printing():
                self.lent = True
        else:
            self._file = sys.stdout  # not asked again for each of a million lines


screen = Screen()


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def is_live(stream: TextIO | None) -> bool:
    """Whether a terminal can show what changes."""
    return is_terminal(stream) and not is_dumb()


def is_pipe(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # closed, or not a file at all
        return False


def width() -> int:
    """Columns of the terminal."""
    import shutil  # with all that it can unpack: most commands print no table

    return shutil.get_terminal_size().columns


def echo(
    text: str = "",
    *,
    err: bool = False,
    nl: bool = True,
    mark: tuple[str, Style] | None = None,
) -> None:
    """Print words for people: wrapped on a terminal, each line as it is elsewhere.

    ``mark``: a word of the text, and its style.
    """
    stream = sys.stderr if err else sys.stdout
    text = harmless(text)
    if is_terminal(stream):
        text = wrapped(text, width())
    if mark:
        text = text.replace(mark[0], paint(*mark, stream), 1)
    with screen.printing():
        _print(text, stream, err=err, nl=nl)


def echo_painted(text: str) -> None:
    """Print on stdout what is laid out and painted already, and of which each part is `harmless`."""
    with screen.printing():
        _print(text, sys.stdout)


def _print(text: str, stream: TextIO | None, *, err: bool = False, nl: bool = True) -> None:
    import click  # takes as long as reading a cached layer, which prints nothing

    click.echo(text, err=err, nl=nl, color=coloured(stream))


def harmless(text: str) -> str:
    """The text without what controls a terminal: a name out of an archive may hold anything."""
    return re.sub(_CONTROL, " ", text)


def paint(text: str, style: Style, stream: TextIO | None) -> str:
    """The text in a style, if the stream shows colours."""
    if not coloured(stream):
        return text
    import click

    return click.style(text, fg=style.many if many_colours() else style.few, bold=style.bold or None)


def coloured(stream: TextIO | None) -> bool:
    wanted = colour_wanted()
    return wanted if wanted is not None else is_live(stream)


def wrapped(text: str, columns: int) -> str:
    """Break lines between words, never in one; what follows is indented as the first line's text is."""
    if columns < NARROWEST:
        return text
    return "\n".join(_wrapped_line(line, columns) for line in text.split("\n"))


def _wrapped_line(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    import textwrap  # few messages are so long

    label = re.match(_LABEL, line)
    indent = len(label[0]) if label else 0
    longest = max(map(len, line[indent:].split()), default=0)
    if indent + longest > columns:  # a hash, say: it begins a line that it fits into
        indent = max(min(len(line) - len(line.lstrip()) + 2, columns - longest), 0)
    rows = textwrap.wrap(
        line, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(rows) if rows else line
