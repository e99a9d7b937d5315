"""Totals in the text format of Prometheus, for the textfile collector of its node exporter.

Names follow https://prometheus.io/docs/practices/naming/: base units, ``_total`` for what only grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.statistics.totals import Day, PlaceTotals


def exposition(total: Day) -> str:
    """Every metric, with its help and type."""
    tiers = [each for each in total.places if each.kind == "tier"]
    sources = [each for each in total.places if each.kind != "tier"]
    lines = [
        *_family("hits", "Layers that a tier had.", _by_place(tiers, "blobs")),
        *_family("hit_bytes", "Bytes that a tier supplied.", _by_place(tiers, "bytes")),
        *_family(
            "saved_bytes", "Bytes of blobs that no source had to send.", _by_place(tiers, "saved_bytes")
        ),
        *_family(
            "saved_tar_bytes", "Bytes of tars that were not inflated.", _by_place(tiers, "saved_tar_bytes")
        ),
        *_family("fetched", "Blobs that no tier had, by their source.", _by_place(sources, "blobs")),
        *_family("fetched_bytes", "Bytes that a source sent.", _by_place(sources, "bytes")),
        *_family("inflated_bytes", "Bytes of tars that were inflated.", [("", total.inflated_bytes)]),
        *_family("inflating_seconds", "Processor time that inflating took.", [("", total.inflating_seconds)]),
    ]
    return "".join(f"{line}\n" for line in lines)


def _family(name: str, description: str, samples: list[tuple[str, float]]) -> Iterator[str]:
    if samples:
        yield f"# HELP layercache_{name}_total {description}"
        yield f"# TYPE layercache_{name}_total counter"
        for labels, value in samples:
            yield f"layercache_{name}_total{labels} {value!r}"


def _by_place(places: list[PlaceTotals], field: str) -> list[tuple[str, float]]:
    return [
        (f'{{kind="{each.kind}",place="{_escaped(each.name)}"}}', getattr(each, field)) for each in places
    ]


def _escaped(text: str) -> str:
    """The value of a label: backslash, quote and line feed are escaped."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
