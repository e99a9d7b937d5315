"""The plan of a pull as it is printed: what each image takes, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.cli import output
from layercache.cli.table import Column, Lines
from layercache.pull.plan import Amount, cached_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.cache import Cache
    from layercache.images.image import Image
    from layercache.layer import Forms
    from layercache.oci.digest import Digest
    from layercache.pull.plan import Plan


@dataclass(frozen=True, slots=True)
class Row:
    """An image: its layers, the bytes of their blobs, and how many of those are on this machine."""

    name: str
    digest: Digest
    platform: str
    layers: int
    size: int
    cached: int


def rows(cache: Cache, images: Iterable[Image], form: Forms) -> list[Row]:
    found = []
    for image in images:
        total, cached = Amount.of(image.layers), cached_here(cache, image, form)
        found.append(
            Row(image.name, image.digest, str(image.platform), total.layers, total.bytes, cached.bytes)
        )
    return found


def print_rows(rows: Sequence[Row], *, whole: bool) -> None:
    """Print a line for each image: name, platform, layers, size, how much is cached, digest."""
    columns = (
        Column("IMAGE", name=True),
        Column("PLATFORM"),
        Column("LAYERS", right=True),
        Column("SIZE", right=True),
        Column("CACHED", right=True),
        Column("DIGEST", optional=True),
    )
    with Lines(columns, whole=whole) as lines:
        for row in rows:
            amounts = (str(row.layers), lines.size(row.size), lines.size(row.cached))
            lines.add(row.name, row.platform or output.UNKNOWN, *amounts, lines.hash(row.digest))


def described(plan: Plan) -> str:
    """Return a few lines about all images together."""
    distinct, missing = plan.distinct, _layers(plan.missing)
    text = f"{output.count(plan.images, 'image')}: {_layers(distinct)}"
    if plan.shared:
        text += f", {output.human(plan.shared)} shared"
    text += f"; cached {_layers(plan.cached)}, to fetch {missing}"
    far = [f"{_layers(amount)} from {tier}" for tier, amount in plan.far.items() if amount.layers]
    if far:
        text += f", of these {', '.join(far)}"
    return "\n".join([text, *_room(plan)])


def _layers(amount: Amount) -> str:
    return f"{output.count(amount.layers, 'layer')} ({output.human(amount.bytes)})"


def _room(plan: Plan) -> list[str]:
    room, lines = plan.room, []
    if room is None:
        return []
    if room.free is not None:
        lines.append(f"room: {output.human(room.free)} left on the disk of {room.tier}")
    if room.limit is not None:
        used = "" if room.used is None else f"{output.human(room.used)} of "
        lines.append(f"limit: {used}{output.human(room.limit)} used in {room.tier}")
    if plan.exceeds_limit:
        lines.append(
            "layercache: warning: the images are bigger than that limit, so not all of them will be there"
        )
    return lines
