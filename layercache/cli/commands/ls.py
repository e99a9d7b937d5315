"""``layercache ls``: lists cached layers, a line each, as they are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.output import HASH_WIDTH, SIZE_WIDTH, Column
from layercache.cli.session import Command, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.tiers.inventory import Held
    from layercache.tiers.tier import Tier

COLUMNS = (
    Column("DIGEST", HASH_WIDTH),
    Column("DIFF ID", HASH_WIDTH),
    Column("SIZE", SIZE_WIDTH, right=True),
    Column("TAR", SIZE_WIDTH, right=True),
    Column("FORMS", 12),
)
TIER = Column("TIER", 0)


@click.command(cls=Command)
@click.option(
    "--all", "-a", "every", is_flag=True, help="Also list layers of which neither form is cached any more."
)
@click.option("--all-tiers", is_flag=True, help="List every tier, not just the nearest.")
@output.json_option
@output.no_trunc_option
@click.pass_obj
def ls(session: Session, every: bool, all_tiers: bool, as_json: bool, no_trunc: bool) -> None:
    """List layers: digest, diff ID, sizes and cached forms.

    Layers are printed in no particular order, as they are found; --json prints JSON Lines.
    """
    import msgspec

    from layercache.tiers import inventory

    as_line = msgspec.json.Encoder(enc_hook=str).encode
    lines = output.Lines((*COLUMNS, TIER) if all_tiers else COLUMNS, whole=no_trunc)
    with session.cache() as cache:
        for tier in cache.tiers if all_tiers else cache.tiers[:1]:
            for held in inventory.layers(tier):
                if held.forms != "none" or every:
                    if as_json:
                        output.written(as_line(_document(held, tier)).decode())
                    else:
                        lines.add(*_cells(held, lines), *([tier.name] if all_tiers else []))


def _cells(held: Held, lines: output.Lines) -> Sequence[str]:
    fact = held.fact
    names = (lines.hash(fact.digest), lines.hash(fact.diff_id))
    return (*names, lines.size(fact.size), lines.size(fact.uncompressed_size), held.forms)


def _document(held: Held, tier: Tier) -> dict[str, object]:
    fact = held.fact
    return {
        "digest": fact.digest,
        "diff_id": fact.diff_id,
        "size": fact.size,
        "uncompressed_size": fact.uncompressed_size,
        "media_type": fact.media_type,
        "computed": fact.computed,
        "forms": held.forms,
        "tier": tier.name,
    }
