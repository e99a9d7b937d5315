"""``layercache rm``: removes layers and images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from layercache.cli import failures
from layercache.cli.command import Command
from layercache.cli.completing import complete_hash, complete_image
from layercache.errors import LayercacheError

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("hashes", metavar="[HASH...]", nargs=-1, shell_complete=complete_hash)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF",
    shell_complete=complete_image,
    help="Remove this image; repeatable.",
)
@click.option("--blobs", is_flag=True, help="With --image: also remove blobs that no other image uses.")
@click.option("--force", "-f", is_flag=True, help="Delete even if a cached image uses it.")
@click.option("--all-tiers", is_flag=True, help="Remove from every writable tier, not just the nearest.")
@click.pass_obj
def rm(
    session: Session,
    hashes: tuple[str, ...],
    images: tuple[str, ...],
    blobs: bool,
    force: bool,
    all_tiers: bool,
) -> None:
    """Remove layers, by either name, and images.

    A digest removes that blob, and its tar unless another blob inflates to the same tar. A diff ID removes
    the tar and all its blobs. --image removes the image but not its blobs, unless --blobs is given.
    A failure does not stop the rest; the exit code is that of the first failure.
    """
    if not hashes and not images:
        raise click.UsageError("nothing to remove: give a HASH or --image REF")
    if blobs and not images:
        raise click.UsageError("--blobs needs --image: a layer is always removed with its blobs")
    code = 0
    with session.cache() as cache:
        tasks = [partial(cache.forget_image, name, blobs=blobs, all_tiers=all_tiers) for name in images]
        tasks += [partial(_forget_layer, cache, text, force=force, all_tiers=all_tiers) for text in hashes]
        for forget in tasks:
            try:
                forget()
            except LayercacheError as error:
                failures.show(error, trace=session.verbose)
                code = code or failures.exit_code(error)
    if code:
        click.get_current_context().exit(code)


def _forget_layer(cache: Cache, text: str, *, force: bool, all_tiers: bool) -> None:
    from layercache.cli.short_hashes import full_name

    cache.delete(full_name(cache, text), force=force, all_tiers=all_tiers)
