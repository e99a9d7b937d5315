"""``layercache index``: rewrites index.json for other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.command import Command

if TYPE_CHECKING:
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.option(
    "--layers/--no-layers",
    default=None,
    help="List layers as well as images. Default: if there are fewer than 10,000.",
)
@click.pass_obj
def index(session: Session, layers: bool | None) -> None:
    """Rewrite index.json, the view of the cache for other tools.

    They need it to read the cache as an OCI image layout. On a local disk this happens automatically a
    few seconds after a change. Acts on the nearest writable tier, and first imports entries that other
    tools added.
    """
    with session.cache() as cache:
        written = cache.write_index(layers=layers)
    entries = "entry" if written.others == 1 else "entries"
    images = output.count(written.images, "image")
    session.note(f"{written.tier}: {images} and {written.others} other {entries}")
