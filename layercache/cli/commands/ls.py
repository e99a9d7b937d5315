"""``layercache ls``: lists cached layers, a line each, as they are found or sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.completing import complete_image
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.table import Column, Lines
from layercache.value import Value, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.cli.session import Session
    from layercache.oci.digest import Digest
    from layercache.tiers.inventory import CachedLayer
    from layercache.tiers.tier import Tier

COLUMNS = (
    Column("DIGEST", name=True),
    Column("DIFF ID"),
    Column("SIZE", right=True),
    Column("TAR", right=True, optional=True),
    Column("USED"),
    Column("FORMS"),
)
TIER = Column("TIER")

Order = Literal["used", "age", "size", "name", "none"]


@click.command(cls=Command)
@click.option(
    "--all", "-a", "every", is_flag=True, help="Also list layers of which neither form is cached any more."
)
@click.option("--all-tiers", is_flag=True, help="List every tier, not just the nearest.")
@click.option(
    "--image",
    metavar="REF",
    shell_complete=complete_image,
    help="List the layers of this image, lowest first.",
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["used", "age", "size", "name", "none"]),
    help="Sort by last use (the default) or by age (latest first), by size (biggest first) or by digest; "
    "none prints each layer as it is found.",
)
@click.option("--reverse", "-r", is_flag=True, help="Reverse the order of --sort.")
@json_option
@no_trunc_option
@click.pass_obj
def ls(session: Session, /, as_json: bool, no_trunc: bool, **options: Any) -> None:
    """List layers: digest, diff ID, sizes, last use and forms.

    The layer that was used last comes first, unless --sort or --image is given; --json prints JSON Lines.
    """
    import msgspec

    chosen = Options(**options)
    as_line = msgspec.json.Encoder(enc_hook=str).encode
    columns = (*COLUMNS, TIER) if chosen.all_tiers else COLUMNS
    digests = _digests(session, chosen.image) if chosen.image else None
    with session.cache() as cache, output.in_blocks(), Lines(columns, whole=no_trunc) as lines:
        for tier in cache.tiers if chosen.all_tiers else cache.tiers[:1]:
            for held in chosen.listed(tier, digests):
                if as_json:
                    output.written(as_line(_document(held, tier)).decode())
                else:
                    lines.add(*_cells(held, lines), *([tier.name] if chosen.all_tiers else []))


class Options(Value, frozen=True):
    every: bool
    all_tiers: bool
    image: str | None
    order: Order | None
    reverse: bool

    def listed(self, tier: Tier, digests: Iterable[Digest] | None) -> Iterable[CachedLayer]:
        """The layers of a tier to print, in the order in which they are printed."""
        from layercache.tiers import inventory

        every = self.every or digests is not None
        known = inventory.layers(tier) if digests is None else inventory.layers_of(tier, digests)
        found = (held for held in known if every or held.forms != "none")
        in_order = self.order == "none" or (self.order is None and digests is not None)
        return found if in_order else self._sorted(tier, found)

    def _sorted(self, tier: Tier, found: Iterator[CachedLayer]) -> list[CachedLayer]:
        from layercache.tiers import inventory

        match self.order:
            case "size":
                return sorted(found, key=_size, reverse=not self.reverse)
            case "age":
                added = inventory.added(tier)
                return sorted(
                    found,
                    key=lambda held: added.get((held.digest, held.diff_id), 0.0),
                    reverse=not self.reverse,
                )
            case "name":
                return sorted(found, key=lambda held: held.digest, reverse=self.reverse)
            case _:
                return sorted(found, key=lambda held: held.used, reverse=not self.reverse)


def _size(held: CachedLayer) -> int:
    return held.size if held.compressed else held.uncompressed_size or held.size


def _digests(session: Session, image: str) -> list[Digest]:
    """The layers of an image as it was last pulled, of every cached platform. Raises `NotFoundError`."""
    with replace(session, offline=True).cache() as cache:
        images = cache.platforms(image)
        return list(dict.fromkeys(layer.digest for each in images for layer in each.layers))


def _cells(held: CachedLayer, lines: Lines) -> tuple[str, ...]:
    names = (lines.hash(held.digest), lines.hash(held.diff_id))
    sizes = (lines.size(held.size), lines.size(held.uncompressed_size))
    return (*names, *sizes, output.when(held.used, whole=lines.whole), held.forms)


def _document(held: CachedLayer, tier: Tier) -> dict[str, object]:
    return {
        "digest": held.digest,
        "diff_id": held.diff_id,
        "size": held.size,
        "uncompressed_size": held.uncompressed_size,
        "media_type": held.media_type,
        "computed": held.computed,
        "forms": held.forms,
        "last_used": held.used or None,
        "tier": tier.name,
    }
