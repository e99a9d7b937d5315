"""``layercache upgrade``: converts a cache of the earlier format."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.output import count
from layercache.cli.output_options import json_option
from layercache.cli.terminal import echo
from layercache.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.tiers.backend.tier import BackendTier
    from layercache.upkeep.upgrade import Upgraded


@click.command(cls=Command)
@click.argument("url", required=False)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 64),
    help="Objects to convert in parallel. Default: 32, and 1 in a folder.",
)
@click.option("--dry-run", "-n", is_flag=True, help="Read everything, and write nothing.")
@json_option
@click.pass_obj
def upgrade(session: Session, url: str | None, jobs: int | None, dry_run: bool, as_json: bool) -> None:
    """Convert a cache that an earlier version has written, in place.

    URL is what --cache takes; without it, every writable tier of the cache in use is converted. Blobs, images
    and tags stay as they are. After an interruption, run the same command again. A cache that has the
    present format is not changed.
    """
    from layercache.upkeep.upgrade import Upgrade

    done = []
    with ExitStack() as opened:
        for tier in _stores(session, url, opened, dry_run=dry_run):
            upgrading = Upgrade(tier, jobs=jobs, dry_run=dry_run)
            with session.activity.step(partial(_words, upgrading.report)):
                report = upgrading.run()
            done.append(report)
            if not as_json:
                _print(session, report, dry_run=dry_run)
    if as_json:
        output.document({"dry_run": dry_run, "tiers": [_document(each) for each in done]})


def _stores(session: Session, url: str | None, opened: ExitStack, *, dry_run: bool) -> list[BackendTier]:
    """Open the tiers. Raises `NotFoundError` if they are folders that do not exist."""
    from layercache.tiers import folder
    from layercache.tiers.backend.tier import BackendTier
    from layercache.upkeep import stores_of

    configuration = session.configuration()
    chosen = session.tiers([url] if url else None)
    tiers = [opened.enter_context(closing(configuration.open_alone(each, "URL"))) for each in chosen]
    if (missing := folder.missing(tuple(tiers))) and missing[1] == "absent":
        raise NotFoundError(f"there is no cache at {missing[0]}", hint="check the URL")
    if not any(isinstance(tier, BackendTier) for tier in tiers):
        raise ConfigError(
            f"{tiers[0].name} needs no upgrade",
            hint="what earlier versions wrote to a registry is read as it is",
        )
    return stores_of(tiers, everyone=True, writable=not dry_run)


def _words(report: Upgraded) -> str:
    """What it is doing, while it does it."""
    if report.removed:
        return f"upgrading {report.tier}: {count(report.removed, 'object')} of the earlier format removed"
    return f"upgrading {report.tier}: {count(report.associations, 'association')} converted"


def _print(session: Session, report: Upgraded, *, dry_run: bool) -> None:
    if not report.found:
        echo(f"{report.tier} has nothing to upgrade")
        return
    if report.found > 1 and not (report.associations or report.torn or report.removed):
        echo(f"{report.tier} has format {report.found} already")
        return
    verb = "would convert" if dry_run else "converted"
    torn = f" ({report.torn} torn)" if report.torn else ""
    removed = "" if dry_run else f", removed {count(report.removed, 'object')} of the earlier format"
    echo(f"{verb} {count(report.associations, 'association')}{torn} in {report.tier}{removed}")
    if report.refused:
        session.note(f"{count(report.refused, 'object')} not removed: owned by other users")


def _document(report: Upgraded) -> dict[str, Any]:
    names = ("tier", "found", "associations", "torn", "removed", "refused")
    return {name: getattr(report, name) for name in names}
