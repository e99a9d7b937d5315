"""The result of a pull: a table, a summary, or one JSON document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.output import HASH_WIDTH, SIZE_WIDTH, Column, Lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.events import Counters
    from layercache.images.image import Image
    from layercache.layer import Layer
    from layercache.pull import Outcomes

COLUMNS = (
    Column("DIGEST", HASH_WIDTH),
    Column("DIFF ID", HASH_WIDTH),
    Column("SIZE", SIZE_WIDTH, right=True),
    Column("TAR", SIZE_WIDTH, right=True),
    Column("RESULT", 7),
    Column("FROM", 0),
)


@dataclass(frozen=True, slots=True)
class Pulled:
    images: Sequence[Image]
    outcomes: Outcomes
    errors: Sequence[Exception]
    counters: Counters
    seconds: float

    def summary(self) -> str:
        counters = self.counters
        parts = [
            f"fetched {output.count(counters.fetched, 'blob')} ({output.human(counters.fetched_bytes)})",
            f"inflated {counters.inflated}",
            f"hits {counters.hits}",
        ]
        if counters.skipped:
            parts.append(f"skipped {output.count(counters.skipped, 'foreign layer')}")
        return f"{', '.join(parts)}, {self.seconds:.1f} s"

    def print(self, *, whole: bool) -> None:
        """On a terminal print a heading and a table per image; elsewhere print one line per layer."""
        for image in self.images:
            lines = Lines(COLUMNS, whole=whole)
            name = (image.name,) if lines.whole else ()
            if not lines.whole:
                click.echo(f"{image.name}  {image.platform}".rstrip())
            for layer in image.layers:
                lines.add(*self._cells(layer, lines), *name)
            for descriptor in image.foreign:
                sizes = (lines.size(descriptor.size), output.UNKNOWN)
                cells = (lines.hash(descriptor.digest), output.UNKNOWN, *sizes, "skipped")
                lines.add(*cells, "foreign layers are never fetched" if not lines.whole else "", *name)

    def document(self) -> dict[str, Any]:
        counters = self.counters
        return {
            "images": [self._image(image) for image in self.images],
            "errors": [str(error) for error in self.errors],
            "fetched": counters.fetched,
            "fetched_bytes": counters.fetched_bytes,
            "inflated": counters.inflated,
            "inflated_bytes": counters.inflated_bytes,
            "hits": counters.hits,
            "skipped": counters.skipped,
            "seconds": round(self.seconds, 3),
        }

    def _cells(self, layer: Layer, lines: Lines) -> tuple[str, ...]:
        outcome = self.outcomes[str(layer.digest)]
        sizes = (lines.size(layer.size), lines.size(outcome.uncompressed_size))
        where = outcome.where or output.UNKNOWN
        return (lines.hash(layer.digest), lines.hash(layer.names.diff_id), *sizes, outcome.result, where)

    def _image(self, image: Image) -> dict[str, Any]:
        return {
            "name": image.name,
            "digest": image.digest,
            "platform": str(image.platform),
            "layers": [self._layer(layer) for layer in image.layers],
            "foreign": [{"digest": each.digest, "size": each.size} for each in image.foreign],
        }

    def _layer(self, layer: Layer) -> dict[str, Any]:
        outcome = self.outcomes[str(layer.digest)]
        return {
            "digest": layer.digest,
            "diff_id": layer.names.diff_id,
            "size": layer.size,
            "uncompressed_size": outcome.uncompressed_size,
            "media_type": layer.media_type,
            "result": outcome.result,
            "from": outcome.where or None,
            "inflated": outcome.inflated,
        }
