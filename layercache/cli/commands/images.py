"""``layercache images``: lists cached images, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.table import Column, Lines

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.images.cached import CachedImage

COLUMNS = (
    Column("DIGEST", optional=True),
    Column("SIZE", right=True),
    Column("CHECKED"),
    Column("PLATFORMS"),
    Column("IMAGE", name=True),
)
TIER = Column("TIER")


@click.command(cls=Command)
@click.option("--all-tiers", is_flag=True, help="List every tier, not just the nearest.")
@json_option
@no_trunc_option
@click.pass_obj
def images(session: Session, all_tiers: bool, as_json: bool, no_trunc: bool) -> None:
    """List images: digest, size, time, platforms and reference.

    The size counts the cached blobs in compressed form. The time is that of the last check of the tag.
    The platforms are those that are completely cached. Images are sorted by name; --json prints JSON Lines.
    """
    columns = (*COLUMNS, TIER) if all_tiers else COLUMNS
    with session.cache() as cache, Lines(columns, whole=no_trunc) as lines:
        for image in cache.images(all_tiers=all_tiers):
            if as_json:
                output.line(_document(image))
            else:
                lines.add(*_cells(image, lines), *([image.tier] if all_tiers else []))


def _cells(image: CachedImage, lines: Lines) -> tuple[str, ...]:
    platforms = ",".join(_platforms(image)) or output.UNKNOWN
    checked = output.when(image.checked, whole=lines.whole)
    return (lines.hash(image.digest), lines.size(image.size), checked, platforms, image.name)


def _document(image: CachedImage) -> dict[str, object]:
    return {
        "name": image.name,
        "digest": image.digest,
        "media_type": image.media_type,
        "platforms": _platforms(image),
        "size": image.size,
        "checked": output.when(image.checked, whole=True) if image.checked else None,
        "tier": image.tier,
    }


def _platforms(image: CachedImage) -> list[str]:
    """Each once: those of several versions of an operating system are printed alike."""
    return list(dict.fromkeys(str(each) or output.UNKNOWN for each in image.platforms))
