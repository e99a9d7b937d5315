"""The benchmark's figures as plots: ``python tests/benchmarks/plots.py FIGURES.json``.

Files are those of ``run.py --json``; of a row that is in several the last file's counts. Colours are of
middle brightness, so that the plots can be read on white and on black.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rows = Sequence[dict[str, Any]]

WIDTH, LEFT, RIGHT, TOP = 720, 250, 60, 56
BAR, GAP = 22, 10
PLOT_HEIGHT = 240
LINE = 15
TEXT, FAINT = "#768390", "#768390"
COLOURS = ("#3b82d6", "#d2852a", "#3fa66a", "#b05fc4")
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "performance"


@dataclass
class Drawing:
    """An SVG image under a title, with no background of its own."""

    title: str
    height: int
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, anchor: str = "start", size: int = 13) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        self.parts.append(f'<text {place} fill="{TEXT}">{escape(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, dashed: str = "") -> None:
        dash = f' stroke-dasharray="{dashed}"' if dashed else ""
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.parts.append(f'<line {ends} stroke="{FAINT}" stroke-width="1"{dash}/>')

    def bar(self, x: float, y: float, width: float, colour: str) -> None:
        size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR}"'
        self.parts.append(f'<rect {size} rx="2" fill="{colour}"/>')

    def curve(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img"'
            f' font-family="system-ui, sans-serif"><title>{escape(self.title)}</title>'
        )
        heading = (
            f'<text x="12" y="24" font-size="15" font-weight="600" fill="{TEXT}">{escape(self.title)}</text>'
        )
        return "\n".join([head, heading, *self.parts, "</svg>\n"])


def bars(title: str, beside: str, ratios: Sequence[tuple[str, float]]) -> str:
    """Times by another's, a bar each; a line where both are the same."""
    drawing = Drawing(title, TOP + len(ratios) * (BAR + GAP) + 34)
    scale = (WIDTH - LEFT - RIGHT) / max(1.25, *(ratio for _, ratio in ratios))
    for number, (label, ratio) in enumerate(ratios):
        y = TOP + number * (BAR + GAP)
        drawing.text(LEFT - 10, y + BAR - 6, label, "end")
        drawing.bar(LEFT, y, ratio * scale, COLOURS[ratio > 1])
        drawing.text(WIDTH - 12, y + BAR - 6, f"{ratio:.2f}", "end")
    bottom = drawing.height - 28
    drawing.line(LEFT, TOP - 8, LEFT, bottom)
    drawing.line(LEFT + scale, TOP - 8, LEFT + scale, bottom, "5 4")
    drawing.text(LEFT + scale, bottom + 18, f"1.00 is {beside}", "middle", 12)
    return drawing.svg()


def curves(
    title: str,
    x_name: str,
    y_name: str,
    series: dict[str, list[tuple[float, float]]],
    *,
    powers: bool = False,
) -> str:
    """A curve a series over a logarithmic x, from zero up. ``powers``: y is logarithmic, too, from one up."""
    drawing = Drawing(title, TOP + PLOT_HEIGHT + 60)
    left, width, bottom = 56, WIDTH - 56 - 230, TOP + PLOT_HEIGHT
    xs = sorted({x for points in series.values() for x, _ in points})
    most = max(y for points in series.values() for _, y in points)
    step = 1.0 if powers else _round_step(most / 4)
    top = math.ceil(math.log10(most)) if powers else step * math.ceil(most / step)
    low, high = math.log10(xs[0]), math.log10(xs[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(x) - low) / (high - low) if high > low else 0.5
        height = math.log10(max(y, 1)) if powers else y
        return left + width * (0.04 + 0.92 * share), bottom - PLOT_HEIGHT * height / top

    for number in range(round(top / step) + 1):
        value = 10.0**number if powers else number * step
        height = place(xs[0], value)[1]
        drawing.line(left, height, left + width, height, "" if number == 0 else "1 5")
        drawing.text(left - 8, height + 4, f"{value:,.0f}" if powers else f"{value:g}", "end", 12)
    for x in xs:
        drawing.text(place(x, 0)[0], bottom + 18, f"{x:,.0f}", "middle", 12)
    drawing.text(left + width / 2, bottom + 40, x_name, "middle", 12)
    drawing.text(12, TOP - 14, y_name, size=12)
    labels: list[float] = []
    for (name, points), colour in zip(series.items(), COLOURS, strict=False):
        placed = [place(x, y) for x, y in sorted(points)]
        drawing.curve(placed, colour)
        x, y = placed[-1]
        while any(abs(y - other) < LINE for other in labels):  # curves that end at the same height
            y -= LINE
        labels.append(y)
        drawing.text(x + 14, y + 4, f"{name}: {max(points)[1]:.0f}")
    return drawing.svg()


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not less than this."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least)


def lookups(rows: Rows) -> str | None:
    """Look-ups in caches of few and of many layers."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["case"].startswith("lookup: ") and row["median_seconds"]:
            layers = float(row["what"].removesuffix(" layers").replace(",", ""))
            series.setdefault(row["case"].removeprefix("lookup: "), []).append(
                (layers, row["median_seconds"] * 1e6)
            )
    if not series:
        return None
    return curves("Looking a layer up, by how many the cache has", "layers in the cache", "µs", series)


def pulls(rows: Rows) -> str | None:
    """Pulls of three images, by skopeo's time."""
    found = []
    for row in rows:
        case, _, image = row["case"].partition(": ")
        ratio = next((ratio for peer, ratio in row["ratios"].items() if peer.startswith("skopeo")), None)
        if case in ("big", "medium", "small") and ratio is not None:
            form = "both forms" if row["what"].endswith("both") else "compressed form"
            found.append((f"{image}, {form}", ratio))
    return bars("Time of a pull, by that of skopeo copy", "skopeo, compressed form", found) if found else None


def bounds(rows: Rows) -> str | None:
    """What is compared with the least that can be: the work itself, the file itself, one asker alone."""
    found = []
    for row in rows:
        case, _, what = row["case"].partition(": ")
        for other, ratio in row["ratios"].items():
            if case == "bound":
                found.append((f"one pass, both forms, {what}", ratio))
            elif case == "warm" and row["what"] == "whole read" and "file" in other:
                found.append((f"warm read of {what}", ratio))
            elif case == "askers" and "path" in row["what"]:
                found.append((f"{row['what'].partition(' for ')[0]} of one layer", ratio))
    return bars("Time, by the least that there can be", "the bound", found) if found else None


def scale(rows: Rows) -> str | None:
    """Fleets of machines that start one image: when all have it, with and without leases."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if figures := row.get("figures"):
            service = row["case"].removeprefix("scale: ").partition(",")[0]
            name = f"{service}, {'with' if figures['leases'] else 'without'} leases"
            series.setdefault(name, []).append((figures["machines"], figures["seconds"]))
    if not series:
        return None
    return curves("When all machines have the image", "machines", "seconds", series, powers=True)


PLOTS: dict[str, Callable[[Rows], str | None]] = {
    "lookups": lookups,
    "pulls": pulls,
    "bounds": bounds,
    "scale": scale,
}


def fleets(rows: Rows) -> str:
    """The figures of `scale` as a table in Markdown; empty if there are none."""
    columns = ("machines", "service", "leases", "all have it after", "longest wait", "fetched upstream")
    lines = [f"| {' | '.join((*columns, 'requests', 'refused', 'dollars'))} |", "|---" * 9 + "|"]
    found = [(row["case"].split()[1].rstrip(","), row["figures"]) for row in rows if row.get("figures")]
    for service, each in sorted(
        found, key=lambda item: (item[1]["machines"], item[0] != "S3", -item[1]["leases"])
    ):
        cells = [f"{each['machines']:,}", service, "yes" if each["leases"] else "no"]
        cells += [f"{each[name]:,.1f} s" for name in ("seconds", "longest_wait")]
        cells += [f"{each['fetches']:,} layers, {each['fetched_bytes'] / 1e9:,.1f} GB"]
        cells += [f"{each['requests']:,}", f"{each['refused']:,}", f"{each['dollars']:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if found else ""


def write_table(page: Path, table: str) -> None:
    """Replace the table on a page, between its two marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    page.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the figures that run.py --json has written.")
    parser.add_argument("figures", type=Path, nargs="+", metavar="FIGURES.json")
    parser.add_argument(
        "--to", type=Path, default=DOCS, metavar="FOLDER", help=f"default {DOCS}; a table in ../scale.md"
    )
    options = parser.parse_args()
    rows = {
        (row["case"], row["what"]): row
        for path in options.figures
        for row in json.loads(path.read_text())["rows"]
    }
    options.to.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for name, plot in PLOTS.items():
        if (svg := plot(list(rows.values()))) is None:
            print(f"{name}: there are no figures of it; what was drawn before stays", file=sys.stderr)
        else:
            (options.to / f"{name}.svg").write_text(svg, encoding="utf-8")
            print(options.to / f"{name}.svg")
            drawn += 1
    page = options.to.parent / "scale.md"
    if (table := fleets(list(rows.values()))) and page.exists():
        write_table(page, table)
        print(page)
    return 0 if drawn else 1


if __name__ == "__main__":
    sys.exit(main())
