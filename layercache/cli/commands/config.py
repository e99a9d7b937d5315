"""``layercache config``: shows the settings and where they come from, and checks a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import exit_codes, failures, output
from layercache.cli.command import Group
from layercache.cli.global_options import CACHE
from layercache.cli.output_options import json_option
from layercache.cli.table import Column, Lines
from layercache.cli.terminal import echo
from layercache.units import age_text, size_text

if TYPE_CHECKING:
    from layercache.cli.session import Session

COLUMNS = (Column("KEY", name=True), Column("VALUE"), Column("FROM"))


@click.group(cls=Group)
def config() -> None:
    """Show and check the configuration.

    A key has the value of the first file that sets it: layercache.toml or [tool.layercache] in
    pyproject.toml in this folder or a parent, the user's file, /etc/layercache/config.toml. A file that
    --config or LAYERCACHE_CONFIG names is the only one.
    """


@config.command()
@json_option
@click.pass_obj
def show(session: Session, as_json: bool) -> None:
    """Show each setting and where its value comes from.

    The origin is an option, a variable, a key of a file, or the default. Secrets are hidden.
    """
    from layercache.config.show import settings

    configuration = session.configuration()
    found = list(settings(configuration, session.urls, CACHE, session.given()))
    if as_json:
        files = [file.place.path for file in configuration.files]
        rows = [{"key": key, "value": each.value, "from": each.origin} for key, each in found]
        output.document({"files": files, "settings": rows})
        return
    with Lines(COLUMNS, whole=False) as lines:
        for key, each in found:
            lines.add(key, _plain(key, each.value), each.origin)


@config.command()
@click.option(
    "--all", "-a", "every", is_flag=True, help="List every place that is searched, and what is there."
)
@json_option
@click.pass_obj
def path(session: Session, every: bool, as_json: bool) -> None:
    """Print the paths of the files in use, nearest first.

    Exits with status 1 if there is none.
    """
    from layercache.config.inspection import config_files

    places = config_files(session.config)
    in_use = [place.path for place in places if place.in_use]
    if as_json:
        output.document({"files": in_use, "places": places})
    elif every:
        for place in places:
            echo(f"{place.path}\t{place.kind}\t{place.state}")
    else:
        for each in in_use:
            echo(each)
    if not in_use:
        session.note("layercache: there is no configuration file (--all lists the places that are searched)")
        click.get_current_context().exit(exit_codes.NOT_FOUND)


@config.command()
@click.argument("file", required=False)
@json_option
@click.pass_obj
def check(session: Session, file: str | None, as_json: bool) -> None:
    """Check configuration files and report every problem.

    By default all files in use. Checks the URL of each tier without contacting its store. Treats
    layercache.toml and pyproject.toml as a project's files, which may not set every key.
    """
    from layercache.config.inspection import check_config

    checked = check_config(session.config if file is None else file)
    if not checked.files:
        session.note("layercache: there is no configuration file to check")
    if as_json:
        output.document(checked)
    else:
        for problem in checked.problems:
            failures.show(problem.error(), trace=session.verbose)
        wrong = {problem.file for problem in checked.problems}
        for each in checked.files:
            if each not in wrong:
                echo(f"{each}: OK")
    if checked.problems:
        click.get_current_context().exit(exit_codes.USAGE)


def _plain(key: str, value: Any) -> str:
    """Format a value for a table: text as it is, bytes and seconds with their unit, the rest as in TOML."""
    name = key.rpartition(".")[2]
    if isinstance(value, int | float) and not isinstance(value, bool):
        if "size" in name:
            return size_text(round(value))
        if name.endswith(("timeout", "_age", "_seconds", "_limit_wait")):
            return age_text(value)
    if value is None or isinstance(value, str):
        return output.UNKNOWN if value is None else value
    import json

    return json.dumps(value)
