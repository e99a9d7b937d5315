"""``layercache diff``: shows which files differ between two images, and by how many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import exit_codes, file_lines, output
from layercache.cli.command import Command
from layercache.cli.completing import complete_name
from layercache.cli.file_names import shown, write_raw
from layercache.cli.file_options import null_option, platform_option
from layercache.cli.named_files import digests, opened_all, view
from layercache.cli.option_types import GLOB
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.registry_options import registry_options
from layercache.cli.table import Column, Lines
from layercache.errors import NotFoundError
from layercache.files.globs import Glob
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layercache.cli.named_files import HasFiles
    from layercache.cli.session import Session
    from layercache.files.diff import Difference
    from layercache.files.merged import ImageFile
    from layercache.oci.digest import Digest

COLUMNS = (Column("CHANGE"), Column("BYTES", right=True), Column("WHAT"), Column("PATH"))


@click.command(cls=Command)
@click.argument("first", metavar="IMAGE|HASH", shell_complete=complete_name)
@click.argument("second", metavar="IMAGE|HASH", shell_complete=complete_name)
@click.argument("globs", metavar="[GLOB]...", nargs=-1, type=GLOB)
@null_option
@platform_option
@registry_options
@json_option
@no_trunc_option
@click.pass_obj
def diff(session: Session, /, first: str, second: str, **options: Any) -> None:
    """Show which files differ between two images or layers.

    Prints what happened to each path from the first to the second (added, removed or changed), by how
    many bytes it grew, and what of it changed: type, content, link, device, mode, owner, xattrs.
    Times are not compared. No file is read: the indexes of the layers have a hash of each.

    A GLOB chooses files, as for layercache files.

    The exit code is as that of diff: 0 if nothing differs, 1 if something does, 2 or more for a
    failure. So an image that is not found is 2.
    """
    form = Form(**{field: options.pop(field) for field in Form.__struct_fields__})
    form.check()
    globs, platform = options.pop("globs"), options.pop("platform")
    try:
        with opened_all(session, [first, second], platform, options) as sources:
            found = Tally(_differences(sources, globs))
            form.print(found, [digests(source) for source in sources])
    except NotFoundError as error:  # its usual code means here that the images differ
        session.show(error)
        click.get_current_context().exit(exit_codes.USAGE)
    if found.counts:
        session.note(str(found))
        click.get_current_context().exit(exit_codes.DIFFERENT)


def _differences(sources: Sequence[HasFiles], globs: Sequence[str]) -> Iterator[Difference]:
    from layercache.files.diff import diff as compare

    patterns = [Glob(glob) for glob in globs]
    for each in compare(*map(view, sources)):
        if not patterns or any(pattern.matches(each.path) for pattern in patterns):
            yield each


class Tally:
    """Differences, which are counted as they are iterated over."""

    def __init__(self, differences: Iterable[Difference]) -> None:
        self._differences = differences
        self.counts: dict[str, int] = {}
        self._growth = 0

    def __iter__(self) -> Iterator[Difference]:
        for each in self._differences:
            self.counts[each.kind] = self.counts.get(each.kind, 0) + 1
            self._growth += each.growth
            yield each

    def __str__(self) -> str:
        """``2 added, 1 changed: +1.2 MB``."""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return f"{counts}: {_signed(self._growth, output.human(abs(self._growth)))}"


class Form(Value, frozen=True):
    """How differences are printed."""

    null: bool
    as_json: bool
    no_trunc: bool

    def check(self) -> None:
        """Raise `click.UsageError` for options that exclude each other."""
        if self.null and self.as_json:
            raise click.UsageError("--null prints lines: leave out --json")

    def print(self, found: Iterable[Difference], layers: Sequence[Sequence[Digest | None]]) -> None:
        """``layers``: the digests of the layers of both."""
        from json import dumps

        file_lines.accept_any_name()
        with Lines(COLUMNS, whole=self.no_trunc) as lines:
            for each in found:
                if self.as_json:
                    output.written(dumps(_document(each, layers)))
                    continue
                size = str(abs(each.growth)) if self.null else lines.size(abs(each.growth))
                cells = (each.kind, _signed(each.growth, size), _what(each))
                if self.null:
                    write_raw(*cells, each.path)
                else:
                    lines.add(*cells, shown(each.path))


def _what(difference: Difference) -> str:
    """What changed of a file, or what was added or removed."""
    file = difference.old or difference.new
    assert file is not None
    return ",".join(difference.changed) or file.entry.type


def _signed(number: int, text: str) -> str:
    return f"{'-' if number < 0 else '+' if number else ''}{text}"


def _document(difference: Difference, layers: Sequence[Sequence[Digest | None]]) -> dict[str, object]:
    def side(file: ImageFile | None, digests: Sequence[Digest | None]) -> object:
        return None if file is None else file_lines.document(file.entry, digests[file.layer])

    return {
        "path": difference.path,
        "change": difference.kind,
        "bytes": difference.growth,
        "changed": difference.changed,
        "old": side(difference.old, layers[0]),
        "new": side(difference.new, layers[1]),
    }
