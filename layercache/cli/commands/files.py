"""``layercache files``: lists the files of an image or a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import file_lines, output
from layercache.cli.command import Command
from layercache.cli.completing import complete_name
from layercache.cli.file_names import shown, write_raw
from layercache.cli.file_options import null_option, platform_option
from layercache.cli.named_files import listed, opened, view
from layercache.cli.option_types import GLOB
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.registry_options import registry_options
from layercache.cli.table import Lines
from layercache.errors import NotFoundError
from layercache.files.globs import Glob
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.cli.named_files import HasFiles, Listed
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("name", metavar="IMAGE|HASH", shell_complete=complete_name)
@click.argument("globs", metavar="[GLOB]...", nargs=-1, type=GLOB)
@click.option(
    "--long", "-l", is_flag=True, help="Also print mode, owner, size, time, layer and the target of links."
)
@null_option
@platform_option
@registry_options
@json_option
@no_trunc_option
@click.pass_obj
def files(
    session: Session, /, name: str, globs: tuple[str, ...], platform: str | None, **options: Any
) -> None:
    """List the files of an image or a layer.

    \b
    A GLOB chooses files; quote it. Without one, all are listed.
      passwd, '*.py'       by the last part of their paths, in any folder
      /passwd, 'etc/*.d'   by their whole paths; * does not match a /
      'usr/**/*.py'        ** stands for any number of folders
      etc/                 all below this folder

    Nothing is read but the index of each layer. Where a layer has none, it is fetched once, and
    its index is kept. If a GLOB matches nothing, the exit code is 1.
    """  # noqa: D301  # click does not rewrap a paragraph that begins so
    form = Form(**{field: options.pop(field) for field in Form.__struct_fields__})
    form.check()
    matched: set[str] = set()
    with opened(session, name, platform, options) as source:
        form.print(_chosen(listed(source), globs, matched))
        missed = [glob for glob in globs if glob not in matched]
        if missed:
            raise NotFoundError(
                f"no file of {name} matches {shown(missed[0])}", hint=_hint(source, Glob(missed[0]))
            )


def _hint(source: HasFiles, glob: Glob) -> str:
    """What to type instead of a pattern that matches nothing: where links lead to, or similar paths."""
    if glob.is_plain:
        try:
            return f"its path in the image is {shown(view(source).lookup(glob.pattern).path)}"
        except NotFoundError as error:
            return error.hint
    if "/" in glob.pattern.strip("/"):
        return "a GLOB with a / is compared with the whole path; **/ before it finds it in any folder"
    return ""


class Form(Value, frozen=True):
    """How files are printed."""

    long: bool
    null: bool
    as_json: bool
    no_trunc: bool

    def check(self) -> None:
        """Raise `click.UsageError` for options that exclude each other."""
        if self.null and (self.long or self.as_json):
            raise click.UsageError("--null prints paths alone: leave out --long and --json")

    def print(self, found: Iterable[Listed]) -> None:
        from json import dumps

        file_lines.accept_any_name()
        with Lines(file_lines.COLUMNS, whole=self.no_trunc) as lines:
            for entry, layer in found:
                if self.null:
                    write_raw(entry.path)
                elif self.as_json:
                    output.written(dumps(file_lines.document(entry, layer)))
                elif self.long:
                    lines.add(*file_lines.cells(entry, layer, lines))
                else:
                    output.written(shown(entry.path))


def _chosen(found: Iterable[Listed], globs: Iterable[str], matched: set[str]) -> Iterator[Listed]:
    """The files that any pattern matches, or all; and note which patterns matched one."""
    patterns = [Glob(glob) for glob in globs]
    if not patterns:
        yield from found
        return
    for each in found:
        hits = [glob.pattern for glob in patterns if glob.matches(each.entry.path)]
        matched.update(hits)
        if hits:
            yield each
