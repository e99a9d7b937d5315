"""``layercache doctor``: checks whether tiers and sources work, and suggests fixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import exit_codes, output
from layercache.cli.command import Command
from layercache.cli.output_options import json_option
from layercache.cli.registry_options import registry_options
from layercache.cli.terminal import ERROR, OK, TITLE, WARNING, Style, echo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from layercache.cli.session import Session
    from layercache.doctor import Subject

WORDS = {
    "ok": ("ok", OK),
    "warning": ("warning", WARNING),
    "failed": ("FAILED", ERROR),
    "skipped": ("-", Style()),
}


@click.command(cls=Command)
@click.argument("names", metavar="[IMAGE_OR_HOST]...", nargs=-1)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Timeout of each check; speed checks get a minute.",
)
@registry_options
@json_option
@click.pass_obj
def doctor(
    session: Session, /, names: tuple[str, ...], timeout: float, as_json: bool, **registries: Any
) -> None:
    """Check tiers, registries and images, and suggest fixes.

    Checks that each tier can be reached, listed, written, read and deleted, and how fast it is; and that the
    named registries and images can be reached, and with which credentials. Writes test data to each writable
    tier, below probes/ or as blobs of a registry, and removes it. Exits with status 4 if a check fails.
    """
    documents, ok = [], True
    for number, subject in enumerate(_subjects(session, names, timeout, registries)):
        ok = ok and subject.ok
        if as_json:
            documents.append(_document(subject))
        else:
            _print(subject, first=not number)
    if as_json:
        output.document({"ok": ok, "subjects": documents})
    if not ok:
        click.get_current_context().exit(exit_codes.FAILED)


def _subjects(
    session: Session, names: tuple[str, ...], timeout: float, registries: Mapping[str, Any]
) -> Iterator[Subject]:
    from layercache.doctor import diagnose

    configuration, now = session.configuration(), ["tiers"]
    with session.activity.step(lambda: f"checking {now[-1]}"):
        yield from diagnose(
            session.urls or None,
            names,
            config=configuration,
            timeout=timeout,
            registries=configuration.registries(**registries),
            progress=now.append,
        )


def _print(subject: Subject, *, first: bool) -> None:
    if output.is_terminal() and not first:
        echo()
    echo(subject.name, mark=(subject.name, TITLE))
    for check in subject.checks:
        word, style = WORDS[check.result]
        echo(f"  {word:<8} {check.name:<14} {check.detail}", mark=(word, style))
        if check.hint:
            echo(f"  {'':<8} {'':<14} {check.hint}")


def _document(subject: Subject) -> dict[str, object]:
    return {
        "name": subject.name,
        "kind": subject.kind,
        "ok": subject.ok,
        "checks": [
            {
                "check": check.name,
                "result": check.result,
                "detail": check.detail,
                "hint": check.hint,
                "value": check.value,
                "unit": check.unit,
            }
            for check in subject.checks
        ],
    }
