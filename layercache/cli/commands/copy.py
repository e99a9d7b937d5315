"""``layercache copy``: bring one cache's entries into another."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import click

from layercache.cli import exit_codes, failures, output
from layercache.cli.output import count, human
from layercache.cli.session import Command, Session

if TYPE_CHECKING:
    from layercache.copy import Report, Selection
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

SHOWN_ERRORS = 5
"""Entries that were passed over and are told in full; --json has more."""


def _point_in_time(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float:
    """Seconds since the epoch: so long ago, or at that date and time here."""
    from datetime import datetime

    from layercache.units import AGE_EXAMPLES, parse_age

    if text is None:
        return 0.0
    try:
        return time.time() - parse_age(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no age ({AGE_EXAMPLES}) and no date (2026-01-31, 2026-01-31T12:00)"
        ) from None


@click.command(cls=Command)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF",
    help="Only what this image needs, as it was pulled; repeatable.",
)
@click.option(
    "--since",
    callback=_point_in_time,
    metavar="AGE|DATE",
    help="Only what was published since: 30d, 12h, 2026-01-31.",
)
@click.option(
    "--form",
    type=click.Choice(["compressed", "uncompressed", "both"]),
    help="Only this form of layers; a tar that FROM has not is made. Default: what TO keeps, as it is there.",
)
@click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=8, show_default=True, help="Blobs at the same time."
)
@click.option("--dry-run", "-n", is_flag=True, help="Tell what would be copied, and write nothing.")
@output.json_option
@click.pass_obj
def copy(
    session: Session,
    source: str,
    target: str,
    images: tuple[str, ...],
    since: float,
    form: Keep | None,
    jobs: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring what one cache has and another lacks.

    Blobs, what is known of them, images.


    FROM and TO are what --cache takes. Each blob is hashed as it passes, and is there whole or not at all.
    Interrupted, or failed half-way, the same command brings the rest. What is wrong in FROM is passed over,
    and the exit code is 3.
    """
    from layercache.cli.progress import copying_shown
    from layercache.copy import Copy
    from layercache.events import Observers

    begun, observers = time.monotonic(), Observers()
    wanted = _wanted(form, images, since)
    visible = sys.stderr is not None and sys.stderr.isatty() and not session.quiet
    configuration = session.configuration()
    with (
        closing(configuration.open_alone(source, "FROM", filled_by_others=True)) as origin,
        closing(configuration.open_alone(target, "TO")) as destination,
    ):
        copying = Copy(origin, destination, wanted, jobs=jobs, dry_run=dry_run, observers=observers)
        with copying_shown(observers, copying.report, visible=visible):
            report = copying.run()
        if not dry_run and (report.copied or report.made or report.facts or report.images):
            _refresh_index(destination, session)
    if as_json:
        output.document(_document(report, dry_run=dry_run, seconds=time.monotonic() - begun))
    else:
        session.note(_summary(report, dry_run=dry_run, seconds=time.monotonic() - begun))
    if not any((report.copied, report.there, report.facts, report.images, report.wrong, report.unreadable)):
        session.note(f"layercache: {origin.name} has nothing of what was asked for")
    _explain(report, session)


def _refresh_index(tier: Tier, session: Session) -> None:
    """Other tools shall see what came, where they can read the cache: in a folder."""
    from layercache.backend.capabilities import LocalPath
    from layercache.errors import BackendError
    from layercache.tiers.backend_tier import BackendTier
    from layercache.tiers.layout.index_writer import write_index

    if isinstance(tier, BackendTier) and isinstance(tier.backend, LocalPath):
        try:
            write_index(tier)
        except BackendError as error:  # a view: what was copied is there all the same
            session.note(f"layercache: warning: index.json was not written: {error.message}")


def _wanted(form: Keep | None, images: tuple[str, ...], since: float) -> Selection:
    from layercache.copy import Selection
    from layercache.errors import ConfigError
    from layercache.sources.names import registry_reference

    references = []
    for name in dict.fromkeys(images):
        if (reference := registry_reference(name)) is None:
            raise ConfigError(f"{name} is in no cache by that name", hint="only a registry's images are")
        references.append(reference)
    return Selection(form, tuple(references), since)


def _summary(report: Report, *, dry_run: bool, seconds: float) -> str:
    parts = [f"{count(report.copied, 'blob')} ({human(report.copied_bytes)})"]
    if report.made:
        parts.append(f"{count(report.made, 'tar')} made ({human(report.made_bytes)})")
    parts += [count(report.facts, "fact"), count(report.images, "image")]
    rest = [f"{report.there} there already"]
    if report.absent:
        rest.append(f"{report.absent} not in FROM")
    if report.kept:
        rest.append(f"{count(report.kept, 'other tag')} kept in TO, since FROM is not trusted")
    if passed_over := report.wrong + report.unreadable:
        rest.append(f"{passed_over} passed over")
    verb = "would copy" if dry_run else "copied"
    return f"{verb} {', '.join(parts)}; {', '.join(rest)}; {seconds:.1f} s"


def _document(report: Report, *, dry_run: bool, seconds: float) -> dict[str, object]:
    names = ("copied", "copied_bytes", "made", "made_bytes", "facts", "images", "there", "absent", "kept")
    return {
        "dry_run": dry_run,
        **{name: getattr(report, name) for name in (*names, "wrong", "unreadable")},
        "failures": [{"name": each.name, "error": str(each.error)} for each in report.failures],
        "seconds": round(seconds, 3),
    }


def _explain(report: Report, session: Session) -> None:
    """Say what was passed over, and leave with 3 where something was wrong, 4 where it could not be read."""
    passed_over = report.wrong + report.unreadable
    if not passed_over:
        return
    for failure in report.failures[:SHOWN_ERRORS]:
        failures.show(failure.error, about=failure.name, trace=session.verbose)
    if passed_over > SHOWN_ERRORS:
        click.echo(f"layercache: and {passed_over - SHOWN_ERRORS} more entries of FROM", err=True)
    click.get_current_context().exit(exit_codes.INTEGRITY if report.wrong else exit_codes.FAILED)
