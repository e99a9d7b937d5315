"""``layercache config``: shows the settings and where they come from, and checks a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import exit_codes, failures, output
from layercache.cli.output import Column, Lines
from layercache.cli.session import CACHE, Group, Session

if TYPE_CHECKING:
    from layercache.config.checker import Problem
    from layercache.config.files import Document, Place

KEY_WIDTH = 26
VALUE_WIDTH = 40


@click.group(cls=Group)
def config() -> None:
    """Show and check the configuration.

    layercache reads the first file that exists, and no other: --config, LAYERCACHE_CONFIG, layercache.toml
    or [tool.layercache] in pyproject.toml in this folder or a parent, the user's file,
    /etc/layercache/config.toml.
    """


@config.command()
@output.json_option
@click.pass_obj
def show(session: Session, as_json: bool) -> None:
    """Show each setting and where its value comes from.

    The origin is an option, a variable, a key of a file, or the default. Secrets are hidden.
    """
    from layercache.config.show import settings

    configuration = session.configuration()
    found = list(settings(configuration, session.urls, CACHE, session.given()))
    if as_json:
        file = configuration.checked.place.path if configuration.checked else None
        rows = [{"key": key, "value": each.value, "from": each.origin} for key, each in found]
        output.document({"file": file, "settings": rows})
        return
    columns = (Column("KEY", KEY_WIDTH), Column("VALUE", VALUE_WIDTH), Column("FROM", 0))
    lines = Lines(columns, whole=False)
    for key, each in found:
        lines.add(key, _plain(each.value), each.origin)


@config.command()
@click.option(
    "--all", "-a", "every", is_flag=True, help="List every place that is searched, and what is there."
)
@output.json_option
@click.pass_obj
def path(session: Session, every: bool, as_json: bool) -> None:
    """Print the path of the file in use.

    Exits with status 1 if there is none.
    """
    from layercache.config import files

    places: list[tuple[Place, str]] = []
    counts: Place | None = None
    for place in files.places(session.config):
        found = files.look(place) if every or as_json or counts is None else "not checked"
        if isinstance(found, str):
            places.append((place, found))
        else:
            places.append((place, "ignored: another file comes first" if counts else "in use"))
            counts = counts or place
    if as_json:
        rows = [{"path": place.path, "kind": place.kind, "state": state} for place, state in places]
        output.document({"file": counts.path if counts else None, "places": rows})
    elif every:
        for place, state in places:
            click.echo(f"{place.path}\t{place.kind}\t{state}")
    elif counts:
        click.echo(counts.path)
    if not counts:
        session.note("layercache: there is no configuration file (--all lists the places that are searched)")
        click.get_current_context().exit(exit_codes.NOT_FOUND)


@config.command()
@click.argument("file", required=False)
@output.json_option
@click.pass_obj
def check(session: Session, file: str | None, as_json: bool) -> None:
    """Check a configuration file and report every problem.

    FILE is by default the file in use. Checks the URL of each tier without contacting its store. Treats
    layercache.toml and pyproject.toml as a project's files, which may not set every key.
    """
    document = _document(session, file)
    if document is None:
        session.note("layercache: there is no configuration file to check")
        return
    problems = _problems(document)
    if as_json:
        rows = [{"key": each.key, "message": each.message, "hint": each.wanted} for each in problems]
        output.document({"file": document.place.path, "problems": rows})
    else:
        for problem in problems:
            failures.show(problem.error(), trace=session.verbose)
    if problems:
        click.get_current_context().exit(exit_codes.USAGE)
    if not as_json:
        click.echo(f"{document.place.path}: OK")


def _document(session: Session, file: str | None) -> Document | None:
    import os

    from layercache.config import files

    if file is None:
        return files.find(session.config)
    document = files.find(file)
    if document and os.path.basename(file) in (files.PROJECT_FILE, files.PYPROJECT):
        return files.Document(files.Place(file, "project"), document.table)
    return document


def _problems(document: Document) -> list[Problem]:
    from layercache.backend import BackendURL, open_backend
    from layercache.config.schema import check
    from layercache.config.tiers import TIER
    from layercache.tiers.guard import guarded
    from layercache.tiers.policy import take_policy

    checked, checker = check(document)
    caches = [checked.table, *(checked.table.caches or {}).values()]
    for tier in [tier for cache in caches for tier in cache.tiers or ()]:
        with checker.attempt(tier.key.removeprefix(checker.prefix), TIER):
            _, rest = take_policy(BackendURL.parse(tier.url), nearest=True)
            guarded(open_backend(rest)).close()
    return checker.problems


def _plain(value: Any) -> str:
    """Format a value for a table: text as it is, the rest as in TOML."""
    return value if isinstance(value, str) else output.UNKNOWN if value is None else json.dumps(value)
