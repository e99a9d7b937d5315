"""Totals as metrics of Prometheus, and in its text format, for the textfile collector of its node exporter.

Names follow https://prometheus.io/docs/practices/naming/: base units, ``_total`` for what only grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.statistics.totals import Day, PlaceTotals

PLACE = ("kind", "place")


class Family(NamedTuple):
    """A counter, without its ``_total``, and its samples: values of the labels, and of the counter."""

    name: str
    description: str
    labels: tuple[str, ...]
    samples: Sequence[tuple[tuple[str, ...], float]]


def families(total: Day) -> Iterator[Family]:
    """Every metric of the totals."""
    tiers = [each for each in total.places if each.kind == "tier"]
    sources = [each for each in total.places if each.kind != "tier"]
    yield _by_place("hits", "Layers that a tier had.", tiers, "blobs")
    yield _by_place("hit_bytes", "Bytes that a tier supplied.", tiers, "bytes")
    yield _by_place("saved_bytes", "Bytes of blobs that no source had to send.", tiers, "saved_bytes")
    yield _by_place("saved_tar_bytes", "Bytes of tars that were not inflated.", tiers, "saved_tar_bytes")
    yield _by_place("fetched", "Blobs that no tier had, by their source.", sources, "blobs")
    yield _by_place("fetched_bytes", "Bytes that a source sent.", sources, "bytes")
    yield _single("inflated_bytes", "Bytes of tars that were inflated.", total.inflated_bytes)
    yield _single("inflating_seconds", "Processor time that inflating took.", total.inflating_seconds)


def exposition(total: Day) -> str:
    """Every metric, with its help and type."""
    return "".join(f"{line}\n" for family in families(total) for line in _lines(family))


def _by_place(name: str, description: str, places: list[PlaceTotals], field: str) -> Family:
    samples = [((str(each.kind), each.name), getattr(each, field)) for each in places]
    return Family(f"layercache_{name}", description, PLACE, samples)


def _single(name: str, description: str, value: float) -> Family:
    return Family(f"layercache_{name}", description, (), [((), value)])


def _lines(family: Family) -> Iterator[str]:
    name, description, labels, samples = family
    if samples:
        yield f"# HELP {name}_total {description}"
        yield f"# TYPE {name}_total counter"
        for values, value in samples:
            pairs = [f'{label}="{_escaped(text)}"' for label, text in zip(labels, values, strict=True)]
            shown = f"{{{','.join(pairs)}}}" if pairs else ""
            yield f"{name}_total{shown} {value!r}"


def _escaped(text: str) -> str:
    """The value of a label: backslash, quote and line feed are escaped."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
