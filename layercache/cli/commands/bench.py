"""``layercache bench``: compares a cache with the plain store below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.output_options import json_option
from layercache.cli.terminal import echo

if TYPE_CHECKING:
    from layercache.bench import Measurement
    from layercache.cli.session import Session


def _size(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    from layercache.bench.measuring import LEAST, MOST
    from layercache.units import parse_size

    try:
        size = parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not LEAST <= size <= MOST:
        raise click.BadParameter(
            f"{text}: expected 100kB to 1GiB; a smaller layer shows no speed, a bigger one is held in memory"
        )
    return size


@click.command(cls=Command)
@click.argument("url", required=False)
@click.option(
    "--size", callback=_size, default="64MB", show_default=True, metavar="SIZE", help="Size of the big layer."
)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Number of small layers of 50 KiB.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Number of runs; medians are reported.",
)
@json_option
@click.pass_obj
def bench(session: Session, url: str | None, size: int, count: int, runs: int, as_json: bool) -> None:
    """Compare the speed of a cache with that of its plain store.

    Measures the nearest tier, or URL. Writes the same bytes through the cache and directly to the store,
    in turns, and for a local cache also to a plain file. Everything is written below a unique name
    (layercache-bench-…) and removed at the end.
    """
    from layercache.bench import measure

    configuration = session.configuration()
    nearest = session.tiers([url] if url else None)[0]
    with session.activity.step(f"measuring {nearest}", of=runs, noun="run") as step:
        measured = measure(
            nearest,
            size=size,
            count=count,
            runs=runs,
            config=configuration,
            progress=lambda _: step.advance(objects=1),
        )
    if as_json:
        output.document(measured)
        return
    echo(f"{'':<19}{'unit':<6}{'cache':>10}{'store':>10}{'file':>10}{'cache/store':>13}")
    for row in measured.results:
        _print(row)
    session.note("cache/store above 1: the cache was faster than its plain store")


def _print(row: Measurement) -> None:
    ours, plain, file = (_number(each) for each in (row.ours, row.plain, row.file))
    echo(f"{row.name:<19}{row.unit:<6}{ours:>10}{plain:>10}{file:>10}{row.ratio:>13.2f}")


def _number(value: float | None) -> str:
    if value is None:
        return output.UNKNOWN
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
