"""``layercache bench``: a cache measured beside the plain store that it stands on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.session import Command, Session

if TYPE_CHECKING:
    from layercache.upkeep.bench import Row


def _size(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    from layercache.units import parse_size

    try:
        size = parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 1 <= size <= 1 << 30:
        raise click.BadParameter(f"{text}: wanted at most 1GiB, since it is held in memory")
    return size


@click.command(cls=Command)
@click.argument("url", required=False)
@click.option(
    "--size", callback=_size, default="64MB", show_default=True, metavar="SIZE", help="Of the big layer."
)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Small layers, 50 KiB each.",
)
@click.option(
    "--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="Of which the medians are told."
)
@output.json_option
@click.pass_obj
def bench(session: Session, url: str | None, size: int, count: int, runs: int, as_json: bool) -> None:
    """Measure a cache beside its plain store.

    By default the nearest tier. The same bytes go through the cache, and as they are into the same store
    (of a local one also into a plain file), in turns. They are written below a name that nothing else
    there has (layercache-bench-…), and removed at the end; nothing else is touched.
    """
    from layercache.upkeep.bench import Benchmark

    nearest = session.tiers([url] if url else None)[0]
    with Benchmark(nearest, size=size, count=count, runs=runs) as benchmark:
        rows = benchmark.run(lambda done: session.note(f"layercache: run {done} of {runs}"))
    if as_json:
        told = {"url": benchmark.name, "size": size, "count": count, "runs": runs}
        output.document({**told, "results": [asdict(row) for row in rows]})
        return
    click.echo(f"{'':<18}{'cache':>10}{'store':>10}{'file':>10}        {'cache/store':>11}")
    for row in rows:
        _print(row)


def _print(row: Row) -> None:
    ours, plain, file = (_number(each) for each in (row.ours, row.plain, row.file))
    click.echo(f"{row.name:<18}{ours:>10}{plain:>10}{file:>10}  {row.unit:<6}{row.ratio:>11.2f}")


def _number(value: float | None) -> str:
    if value is None:
        return output.UNKNOWN
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
