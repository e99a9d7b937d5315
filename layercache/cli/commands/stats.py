"""``layercache stats``: counts what each tier holds, and shows the totals of all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.option_types import AGE
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.terminal import echo
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.tiers.inventory import TierStats


@click.command(cls=Command)
@click.option("--totals", "only_totals", is_flag=True, help="Print only the totals; read no tier.")
@click.option(
    "--since", type=AGE, metavar="AGE", help="Print the totals of the last days only: 7d, 12w. Reads no tier."
)
@click.option(
    "--prometheus",
    metavar="FILE",
    help="Write all totals to a file for Prometheus' textfile collector (- is stdout). Reads no tier.",
)
@click.option("--reset", is_flag=True, help="Delete the totals.")
@json_option
@no_trunc_option
@click.pass_obj
def stats(session: Session, /, as_json: bool, no_trunc: bool, **options: Any) -> None:
    """Count what each tier holds, and what was saved.

    Counts blobs and their bytes, layers by their cached forms, images, and leftovers (unfinished writes).
    Reads every object of every tier, which is slow for a big far tier. The totals are those of all your
    processes: hits and misses, bytes not pulled, and time for inflating that was saved, by tier and day.
    """
    wanted = Options(**options)
    if wanted.reset:
        _reset(session)
    elif wanted.prometheus is not None:
        _export(wanted.prometheus, since=wanted.since)
    else:
        _show(session, wanted, as_json=as_json, whole=no_trunc)


class Options(Value, frozen=True):
    only_totals: bool
    since: float | None
    prometheus: str | None
    reset: bool


def _show(session: Session, wanted: Options, *, as_json: bool, whole: bool) -> None:
    from layercache.cli import totals_report
    from layercache.config.totals import totals

    document: dict[str, object] = {}
    if not wanted.only_totals and wanted.since is None:
        document["tiers"] = _tiers(session, as_json=as_json)
    found = totals(max_age=wanted.since)
    if as_json:
        output.document({**document, "totals": found})
    else:
        if document and output.is_terminal():
            echo()
        totals_report.show(found, whole=whole)


def _tiers(session: Session, *, as_json: bool) -> list[dict[str, object]]:
    from functools import partial

    from msgspec.structs import asdict

    found: list[dict[str, object]] = []
    with session.cache() as cache:

        def words() -> str:
            return f"counting {cache.tiers[min(len(found), len(cache.tiers) - 1)].name}"

        with session.activity.step(words, noun="blob") as step:
            for counted in cache.stats(progress=partial(step.advance, objects=1)):
                found.append({**asdict(counted), "layers": counted.layers})
                if not as_json:
                    _print(counted)
    return found


def _export(path: str, *, since: float | None) -> None:
    from layercache.config.totals import totals_for_prometheus
    from layercache.streams.named_file import writing

    if since is not None:
        raise click.UsageError("--prometheus writes counters, which only grow: --since does not apply")
    with writing(path) as file:
        file.write(totals_for_prometheus().encode())


def _reset(session: Session) -> None:
    from layercache.config.totals import reset_totals

    path = reset_totals()
    session.note(f"removed the totals in {path}" if path else "there are no totals")


def _print(counted: TierStats) -> None:
    from layercache.tiers.leftovers import LeftoverCount

    forms = (
        f"{counted.both_forms} in both forms, {counted.compressed_only} compressed only, "
        f"{counted.uncompressed_only} uncompressed only, {counted.no_form} not cached"
    )
    echo(f"{counted.tier}")
    echo(f"  blobs   {counted.blobs}, {output.exact(counted.bytes)}")
    if limits := _limits(counted):
        echo(f"  limits  {limits}")
    echo(f"  layers  {counted.layers}: {forms}")
    if counted.index_bytes:
        echo(f"  indexes  {counted.indexes}, {output.exact(counted.index_bytes)}")
    echo(f"  images  {counted.images}")
    if counted.leftovers:
        left = LeftoverCount(counted.leftovers, counted.leftover_bytes, counted.leftover_age)
        echo(f"  leftovers  {left}")


def _limits(counted: TierStats) -> str:
    words, limit, size = [], counted.max_size, counted.bytes + counted.index_bytes
    if limit is not None:
        words.append(f"{output.human(limit)}, {size / limit:.0%} full" if limit else "0 B")
    if counted.max_age is not None:
        words.append(f"{output.age(counted.max_age)} unused")
    return "; ".join(words)
