"""``layercache clean``: empties a cache."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.output_options import json_option
from layercache.cli.terminal import echo, screen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.cli.session import Session
    from layercache.upkeep import Cleaned


@click.command(cls=Command)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", "-n", is_flag=True, help="Remove nothing; print what would be removed.")
@click.option("--all-tiers", is_flag=True, help="Empty every writable tier, not just the nearest.")
@json_option
@click.pass_obj
def clean(session: Session, yes: bool, dry_run: bool, all_tiers: bool, as_json: bool) -> None:
    """Empty a cache, after confirmation.

    Removes every blob, association and image of the nearest writable tier. Other files in its folder stay,
    and a layout to which another tool added images is refused. To remove less, use prune or rm.
    """
    with session.cache() as cache:
        found = cache.clean(dry_run=dry_run or not yes, all_tiers=all_tiers)
        if not dry_run and not yes:
            if not _confirmed(found):
                session.note("nothing was removed")
                return
            found = cache.clean(all_tiers=all_tiers)
    if as_json:
        output.document({"dry_run": dry_run, "tiers": [asdict(each) for each in found]})
        return
    for each in found:
        echo(f"{'would remove' if dry_run else 'removed'} {_described(each)}")
        if each.refused:
            session.note(f"{output.count(each.refused, 'object')} not removed: owned by other users")


def _confirmed(found: Iterable[Cleaned]) -> bool:
    """Ask on the terminal. Without one, raise `click.UsageError`."""
    if sum(each.objects for each in found) == 0:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("nothing was removed: there is no terminal to confirm on, so add --yes")
    for each in found:
        echo(_described(each), err=True)
    with screen.asking():
        return click.confirm("Remove all of it?", err=True)


def _described(found: Cleaned) -> str:
    blobs = f"{output.count(found.blobs, 'blob')} ({output.human(found.bytes)})"
    rest = f"{output.count(found.records, 'record')} and {output.count(found.images, 'image')}"
    return f"{blobs}, {rest} in {found.tier}"
