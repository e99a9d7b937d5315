"""``layercache copy``: copies missing entries from one cache to another."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import exit_codes, failures, output
from layercache.cli.command import Command
from layercache.cli.completing import complete_image
from layercache.cli.option_types import jobs_option
from layercache.cli.output import count, human
from layercache.cli.output_options import json_option
from layercache.cli.terminal import echo
from layercache.errors import NotFoundError
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.copy import Copied
    from layercache.events import Event
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

SHOWN_ERRORS = 5
"""Skipped entries that are printed in full; --json has more."""


def _point_in_time(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float:
    """Parse an age or a local date into seconds since the epoch."""
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
            f"{text!r} is not an age ({AGE_EXAMPLES}) or a date (2026-01-31, 2026-01-31T12:00)"
        ) from None


@click.command(cls=Command)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF",
    shell_complete=complete_image,
    help="Copy only what this image needs; repeatable.",
)
@click.option(
    "--since",
    callback=_point_in_time,
    metavar="AGE|DATE",
    help="Copy only what was stored since: 30d, 12h, 2026-01-31.",
)
@click.option(
    "--form",
    type=click.Choice(["compressed", "uncompressed", "both"]),
    help="Copy only this form of layers; tars missing from FROM are inflated from its blobs. "
    "Default: the forms that TO stores, as far as FROM has them.",
)
@jobs_option("Blobs to copy in parallel.")
@click.option("--dry-run", "-n", is_flag=True, help="Show what would be copied, and write nothing.")
@json_option
@click.pass_obj
def copy(session: Session, /, source: str, target: str, as_json: bool, **options: Any) -> None:
    """Copy missing entries from one cache to another.

    Entries are blobs, associations and images. FROM and TO are what --cache takes. Each blob is hashed
    while it is copied, and appears in TO completely or not at all. After an interruption or a failure,
    run the same command again to copy the rest. Entries of FROM that are corrupt are skipped, and the
    exit code is 3. If FROM does not exist or is empty, the exit code is 1.
    """
    begun, chosen = time.monotonic(), Options(**options)
    report, name = _copy(session, source, target, chosen)
    seconds = time.monotonic() - begun
    if as_json:
        output.document(_document(report, dry_run=chosen.dry_run, seconds=seconds))
    else:
        session.note(_summary(report, dry_run=chosen.dry_run, seconds=seconds))
    if not any(
        (report.copied, report.present, report.records, report.images, report.wrong, report.unreadable)
    ):
        if chosen.everything:
            raise NotFoundError(f"{name} is empty: there is nothing to copy", hint="check FROM")
        session.note(f"layercache: nothing to copy: {name} holds none of the requested entries")
    _explain(report, session)


class Options(Value, frozen=True):
    """``since``: seconds since the epoch."""

    images: tuple[str, ...]
    since: float
    form: Keep | None
    jobs: int
    dry_run: bool

    @property
    def everything(self) -> bool:
        """Whether no option selects a part of FROM."""
        return not (self.images or self.since or self.form)


def _copy(session: Session, source: str, target: str, options: Options) -> tuple[Copied, str]:
    """Copy, and return the report and the name of the source."""
    from layercache.copy import Copy, Selection, refresh_index
    from layercache.events import Observers

    observers = Observers()
    selection = Selection.of(options.form, options.images, options.since)
    configuration = session.configuration()
    with (
        session.activity.step(f"copying {source} to {target}"),
        closing(configuration.open_alone(source, "FROM", filled_by_others=True)) as origin,
        closing(configuration.open_alone(target, "TO")) as destination,
    ):
        _check_there(origin)
        copying = Copy(
            origin, destination, selection, jobs=options.jobs, dry_run=options.dry_run, observers=observers
        )
        report = copying.report

        def words() -> str:
            done = count(report.copied + report.made, "blob")
            return f"copying: {done} copied, {report.present} already present"

        def watch(event: Event) -> None:
            session.activity.watch(event)
            if event.kind == "bytes":
                step.advance(event.size)

        with session.activity.step(words) as step, observers.watch(watch):
            copying.run()
        if not options.dry_run and report.is_any and (problem := refresh_index(destination)):
            session.note(f"layercache: warning: {problem}")
        return report, origin.name


def _check_there(origin: Tier) -> None:
    """Raise `NotFoundError` if FROM is a folder that does not exist."""
    from layercache.tiers.folder import missing

    if (found := missing((origin,))) and found[1] == "absent":
        raise NotFoundError(f"there is no cache at {found[0]}", hint="check FROM")


def _summary(report: Copied, *, dry_run: bool, seconds: float) -> str:
    parts = [f"{count(report.copied, 'blob')} ({human(report.copied_bytes)})"]
    if report.made:
        parts.append(f"{count(report.made, 'tar')} inflated ({human(report.made_bytes)})")
    parts.append(count(report.records, "association"))
    if report.indexes:
        parts.append(count(report.indexes, "index", "indexes"))
    parts.append(count(report.images, "image"))
    rest = [f"{report.present} already present"]
    if report.missing:
        rest.append(f"{report.missing} missing from FROM")
    if report.tags_kept:
        rest.append(f"{count(report.tags_kept, 'tag')} of TO not replaced, since FROM is not trusted")
    if skipped := report.wrong + report.unreadable:
        rest.append(f"{skipped} skipped")
    verb = "would copy" if dry_run else "copied"
    return f"{verb} {', '.join(parts)}; {', '.join(rest)}; {seconds:.1f} s"


def _document(report: Copied, *, dry_run: bool, seconds: float) -> dict[str, object]:
    names = (
        "copied",
        "copied_bytes",
        "made",
        "made_bytes",
        "records",
        "indexes",
        "images",
        "present",
        "missing",
        "tags_kept",
    )
    return {
        "dry_run": dry_run,
        **{name: getattr(report, name) for name in (*names, "wrong", "unreadable")},
        "failures": [{"name": each.name, "error": str(each.error)} for each in report.failures],
        "seconds": round(seconds, 3),
    }


def _explain(report: Copied, session: Session) -> None:
    """Print what was skipped; exit with 3 if anything was corrupt, 4 if it only could not be read."""
    skipped = report.wrong + report.unreadable
    if not skipped:
        return
    for failure in report.failures[:SHOWN_ERRORS]:
        failures.show(failure.error, about=failure.name, trace=session.verbose)
    if skipped > SHOWN_ERRORS:
        echo(f"layercache: and {skipped - SHOWN_ERRORS} more entries of FROM", err=True)
    click.get_current_context().exit(exit_codes.INTEGRITY if report.wrong else exit_codes.FAILED)
