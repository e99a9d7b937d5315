"""Tables: aligned and fitted to a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Self

from layercache.cli import terminal
from layercache.cli.output import UNKNOWN, human, is_terminal, short, written
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.oci.digest import Hash

GAP = "  "
NARROWEST = 16
"""Columns that a text needs, at least, to be wrapped next to other columns."""

_PIECE = re.compile(r"[^ /,]*[ /,]?")
"""Where a text may be wrapped: behind a space, a slash or a comma."""

STYLES = {"failed": terminal.ERROR}
"""Cells with a colour."""


class Column(Value, frozen=True):
    """``name``: on a terminal it comes first, and is never cut. ``right``: numbers.

    ``optional``: left out on a terminal that is too narrow, and if no line has a value.
    """

    title: str
    right: bool = False
    name: bool = False
    optional: bool = False


class Lines:
    """A table, in a ``with`` block. On a terminal it is printed at the end of the block.

    There it has a header, columns as wide as necessary, short hashes and rounded sizes. Elsewhere, or if
    ``whole``, each line is written at once, without a header; fields are separated by tabs, and hashes and
    sizes are exact.
    """

    def __init__(self, columns: Sequence[Column], *, whole: bool) -> None:
        self.whole = whole or not is_terminal()
        self._columns = columns
        self._rows: list[tuple[str, ...] | str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if any(isinstance(row, tuple) for row in self._rows):
            self._print()

    def add(self, *cells: str) -> None:
        if not "".join(cells).isprintable():
            cells = tuple(cell if cell.isprintable() else _on_one_line(cell) for cell in cells)
        if self.whole:
            written("\t".join(cells))
        else:
            self._rows.append(cells)

    def heading(self, text: str) -> None:
        """On a terminal, a line above those that follow."""
        if not self.whole:
            self._rows.append(terminal.harmless(text))

    def hash(self, name: Hash | None) -> str:
        if name is None:
            return UNKNOWN
        return str(name) if self.whole else short(name)

    def size(self, size: int | None) -> str:
        if size is None:
            return UNKNOWN
        return str(size) if self.whole else human(size)

    def _print(self) -> None:
        layout = Layout.of(self._columns, [row for row in self._rows if isinstance(row, tuple)])
        text: list[str] = []
        header = True
        for row in self._rows:
            if isinstance(row, str):
                text += [*([""] if text else []), terminal.paint(row, terminal.TITLE, sys.stdout)]
                continue
            if header:
                titles = layout.lines([column.title for column in self._columns])
                text += [terminal.paint(line, terminal.TITLE, sys.stdout) for line in titles]
                header = False
            text += layout.lines(row)
        terminal.echo_painted("\n".join(text))


def _on_one_line(cell: str) -> str:
    return " ".join(terminal.harmless(cell).splitlines()).replace("\t", " ")


class Layout(Value, frozen=True):
    """Which columns are shown, in which order, and how wide. ``stacked``: names have lines of their own."""

    columns: Sequence[Column]
    order: list[int]
    widths: list[int]
    stacked: bool

    @classmethod
    def of(cls, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Layout:
        """Fit these rows into the terminal's width."""
        space = terminal.width()
        shown = [
            number
            for number, column in enumerate(columns)
            if not (column.optional and all(row[number] == UNKNOWN for row in rows))
        ]
        order = sorted(shown, key=lambda number: not columns[number].name)
        widths = [
            max([len(column.title), *(len(row[n]) for row in rows)]) for n, column in enumerate(columns)
        ]

        def total(numbers: Sequence[int]) -> int:
            return sum(widths[number] for number in numbers) + len(GAP) * (len(numbers) - 1)

        for number in [n for n in reversed(order) if columns[n].optional]:
            if total(order) > space:
                order.remove(number)
        stacked = False
        texts = [n for n in order if not (columns[n].right or columns[n].name)]
        if total(order) > space and texts:
            widest = max(texts, key=lambda n: widths[n])
            rest = space - (total(order) - widths[widest])
            if rest < NARROWEST and any(columns[n].name for n in order):
                stacked = True
                others = [n for n in order if not columns[n].name]
                rest = space - len(GAP) - (total(others) - widths[widest])
            widths[widest] = min(widths[widest], max(rest, NARROWEST))
        return cls(columns, order, widths, stacked)

    def lines(self, cells: Sequence[str]) -> list[str]:
        """The lines of one row."""
        if not self.stacked:
            return self._joined(self.order, cells)
        names = [cells[n] for n in self.order if self.columns[n].name]
        others = [n for n in self.order if not self.columns[n].name]
        return [*names, *(f"{GAP}{line}" for line in self._joined(others, cells))]

    def _joined(self, order: Sequence[int], cells: Sequence[str]) -> list[str]:
        columns = [self._folded(n, cells[n]) for n in order]
        height = max(len(lines) for lines in columns)
        rows = []
        for number in range(height):
            parts = [
                lines[number] if number < len(lines) else " " * self.widths[n]
                for n, lines in zip(order, columns, strict=True)
            ]
            rows.append(GAP.join(parts).rstrip())
        return rows

    def _folded(self, number: int, cell: str) -> list[str]:
        """A cell's lines, all as wide as its column; too long words are not cut."""
        column, wide = self.columns[number], self.widths[number]
        lines = [cell] if len(cell) <= wide or column.name else fold(cell, wide)
        padded = [line.rjust(wide) if column.right else line.ljust(wide) for line in lines]
        style = STYLES.get(cell)
        return [terminal.paint(line, style, sys.stdout) for line in padded] if style else padded


def fold(text: str, wide: int) -> list[str]:
    """Wrap a text behind spaces, slashes and commas."""
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > wide:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines if line.strip()]
