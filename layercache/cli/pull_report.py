"""The result of a pull: a table, a summary, or one JSON document."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from layercache.cli import output
from layercache.cli.table import Column, Lines
from layercache.statistics.places import Place
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.images.image import Image
    from layercache.layer import Layer
    from layercache.pull import Outcomes
    from layercache.resolver.upload_queue import UploadProgress
    from layercache.statistics.counters import Counters

KINDS = ("mirror", "registry", "layout", "archive", "function")
"""Places other than tiers, in the order of the summary."""

COLUMNS = (
    Column("DIGEST", name=True),
    Column("DIFF ID", optional=True),
    Column("SIZE", right=True),
    Column("TAR", right=True, optional=True),
    Column("RESULT"),
    Column("FROM"),
)


class Done(Value, frozen=True):
    """What the whole command did, uploads included: only its end shows that."""

    counters: Counters
    uploads: Sequence[UploadProgress]
    seconds: float


class PullReport(Value, frozen=True):
    images: Sequence[Image]
    outcomes: Outcomes
    errors: Sequence[Exception]
    tiers: Sequence[str]

    def summary(self, done: Done) -> str:
        """Count the layers by the place that supplied them: tiers, nearest first, then mirrors, registry."""
        counters = done.counters
        parts = [*self._by_place(), f"failed {len(self.errors)}"]
        if counters.inflated:
            parts.append(f"inflated {counters.inflated}")
        if counters.skipped:
            parts.append(f"skipped {output.count(counters.skipped, 'foreign layer')}")
        parts += [f"sent {output.human(each.sent)} to {each.where}" for each in done.uploads if each.sent]
        return f"{', '.join(parts)}, {done.seconds:.1f} s"

    def _by_place(self) -> Iterator[str]:
        order = [*self.tiers, *KINDS]
        sizes = {str(layer.digest): layer.size or 0 for image in self.images for layer in image.layers}
        counts: Counter[tuple[int, str]] = Counter()
        received: Counter[tuple[int, str]] = Counter()
        for digest, outcome in self.outcomes.items():
            place = outcome.place or Place.of_tier(self.tiers[0])
            rank = order.index(place.name if place.kind == "tier" else place.kind)
            if outcome.error is None:
                counts[rank, self._title(place)] += 1
                received[rank, self._title(place)] += sizes[digest] if place.kind != "tier" else 0
        for key in sorted(counts):
            size = f" ({output.human(received[key])})" if received[key] else ""
            yield f"from {key[1]} {counts[key]}{size}"

    def _title(self, place: Place) -> str:
        if place.kind == "tier":
            is_disk = place.name == self.tiers[0] and place.name.startswith("file:")
            return "disk" if is_disk else place.name
        return "registry" if place.kind == "registry" else place.name

    def print(self, *, whole: bool) -> None:
        """On a terminal print a table with a heading for each image; elsewhere one line for each layer."""
        with Lines(COLUMNS, whole=whole) as lines:
            for image in self.images:
                name = (image.name,) if lines.whole else ()
                lines.heading(f"{image.name}  {image.platform}".rstrip())
                for layer in image.layers:
                    lines.add(*self._cells(layer, lines), *name)
                for descriptor in image.foreign:
                    sizes = (lines.size(descriptor.size), output.UNKNOWN)
                    cells = (lines.hash(descriptor.digest), output.UNKNOWN, *sizes, "skipped")
                    lines.add(*cells, "foreign layers are never fetched" if not lines.whole else "", *name)

    def document(self, done: Done) -> dict[str, Any]:
        counters = done.counters
        return {
            "images": [self._image(image) for image in self.images],
            "errors": [str(error) for error in self.errors],
            "fetched": counters.fetched,
            "fetched_bytes": counters.fetched_bytes,
            "inflated": counters.inflated,
            "inflated_bytes": counters.inflated_bytes,
            "hits": counters.hits,
            "skipped": counters.skipped,
            "failed": len(self.errors),
            "places": [
                {"kind": each.kind, "name": each.name, "blobs": each.blobs, "bytes": each.bytes}
                for each in counters.places
            ],
            "sent_bytes": sum(each.sent for each in done.uploads),
            "seconds": round(done.seconds, 3),
        }

    def _cells(self, layer: Layer, lines: Lines) -> tuple[str, ...]:
        outcome = self.outcomes[str(layer.digest)]
        sizes = (lines.size(layer.size), lines.size(outcome.uncompressed_size))
        where = outcome.place.where if outcome.place else output.UNKNOWN
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
            "from": outcome.place and outcome.place.where,
            "inflated": outcome.inflated,
        }
