"""How ``layercache info`` prints an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.cache.image_info import in_a_line
from layercache.cli import output
from layercache.cli.table import Column, Lines
from layercache.cli.terminal import echo

if TYPE_CHECKING:
    from layercache.cache.image_info import ImageInfo

COLUMNS = (
    Column("DIGEST", name=True),
    Column("DIFF ID"),
    Column("SIZE", right=True),
    Column("CACHED"),
    Column("CREATED BY"),
)


def show(info: ImageInfo, *, whole: bool) -> None:
    """Print a line for each fact about the image, then a table of its layers."""
    cached = sum(bool(layer.cached) for layer in info.layers)
    fields = {
        "image": info.name,
        "digest": info.digest,
        "index": info.root if info.root != info.digest else "",
        "config": info.config,
        "type": info.media_type,
        "platform": info.platform,
        "others": ", ".join(each for each in info.platforms if each != info.platform),
        "created": info.created,
        "size": f"{output.human(info.size)} compressed",
        "cached": f"{cached} of {output.count(len(info.layers), 'layer')}",
    }
    for title, value in fields.items():
        if value:
            echo(f"{title:<8} {in_a_line(str(value))}")
    with Lines(COLUMNS, whole=whole) as lines:
        for layer in info.layers:
            forms = "both" if len(layer.cached) > 1 else "".join(layer.cached)
            names = (lines.hash(layer.digest), lines.hash(layer.diff_id), lines.size(layer.size))
            lines.add(*names, forms or output.UNKNOWN, layer.created_by)
        for digest in info.foreign:
            lines.add(lines.hash(digest), output.UNKNOWN, output.UNKNOWN, "foreign", "never fetched")
