"""``layercache rm``: forget layers."""

from __future__ import annotations

import click

from layercache.cli import failures
from layercache.cli.session import Command, Session
from layercache.errors import LayercacheError


@click.command(cls=Command)
@click.argument("hashes", metavar="HASH...", nargs=-1, required=True)
@click.option("--force", "-f", is_flag=True, help="Also what a cached image refers to.")
@click.option(
    "--all-tiers", is_flag=True, help="In every tier that can be written to, not the nearest alone."
)
@click.pass_obj
def rm(session: Session, hashes: tuple[str, ...], force: bool, all_tiers: bool) -> None:
    """Forget layers, by either name.

    By digest: that blob, and the tar unless another digest leads to it. By diff ID: the tar and all its
    blobs. If one fails the others go on, and the exit code is that of the first failure.
    """
    from layercache.cli.names import full_name

    code = 0
    with session.cache() as cache:
        for text in hashes:
            try:
                cache.delete(full_name(cache, text), force=force, all_tiers=all_tiers)
            except LayercacheError as error:
                failures.show(error, trace=session.verbose)
                code = code or failures.exit_code(error)
    if code:
        click.get_current_context().exit(code)
