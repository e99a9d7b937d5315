"""``layercache index``: write index.json anew, for other tools."""

from __future__ import annotations

import click

from layercache.cli import output
from layercache.cli.session import Command, Session


@click.command(cls=Command)
@click.option(
    "--layers/--no-layers",
    default=None,
    help="List layers beside images. Default: while they are fewer than 10,000.",
)
@click.pass_obj
def index(session: Session, layers: bool | None) -> None:
    """Write index.json anew, for other tools.

    By it they read the cache as an OCI image layout. On a local disk it is written by itself a few
    seconds after a change. It is that of the nearest tier that can be written to. What other tools have
    added to it is taken over first.
    """
    from layercache.errors import ConfigError
    from layercache.tiers.backend_tier import BackendTier
    from layercache.tiers.layout.index_writer import write_index

    with session.cache() as cache:
        for tier in cache.tiers:
            if isinstance(tier, BackendTier) and not tier.policy.readonly:
                images, others = write_index(tier, layers=layers)
                break
        else:
            raise ConfigError("no tier can have an index.json", hint="name a cache that can be written to")
    entries = "entry" if others == 1 else "entries"
    session.note(f"{tier.name}: {output.count(images, 'image')} and {others} other {entries}")
