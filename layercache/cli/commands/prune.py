"""``layercache prune``: make room by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.option_types import AGE, SIZE
from layercache.cli.output import HASH_WIDTH, SIZE_WIDTH, Column
from layercache.cli.session import Command, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.tiers.tier import Tier
    from layercache.upkeep import Pruned, Removed

COLUMNS = (
    Column("NAME", HASH_WIDTH),
    Column("SIZE", SIZE_WIDTH, right=True),
    Column("LAST USED", 20),
    Column("LIMIT", 5),
)
TIER = Column("TIER", 0)


@click.command(cls=Command)
@click.option("--max-size", type=SIZE, metavar="SIZE", help="Bytes that blobs may have in all: 20GB, 500MiB.")
@click.option(
    "--older-than", type=AGE, metavar="AGE", help="Remove what was not used for this long: 30d, 12h."
)
@click.option(
    "--leftovers-older-than",
    type=AGE,
    metavar="AGE",
    help="Remove unfinished writes begun this long ago. Default: 1d, or less with --older-than.",
)
@click.option("--forget", is_flag=True, help="Also facts and images of which no blob is there any more.")
@click.option("--dry-run", "-n", is_flag=True, help="Remove nothing, and print what would go.")
@click.option("--all-tiers", is_flag=True, help="Every tier that can be written to, not the nearest alone.")
@output.json_option
@output.no_trunc_option
@click.pass_obj
def prune(
    session: Session,
    max_size: int | None,
    older_than: float | None,
    leftovers_older_than: float | None,
    forget: bool,
    dry_run: bool,
    all_tiers: bool,
    as_json: bool,
    no_trunc: bool,
) -> None:
    """Remove what was not used for long, and leftovers of killed writes.

    The least recently used blobs go until the cache is as small and as young as it should be: first tars
    that can be made again from a blob that stays, last the documents of images. Without --max-size and
    --older-than the limits of the cache's own URL hold; where it has none, only leftovers go. A write that
    is older than their age fails, even if it is still at work. Prints each blob that went: name, size, last
    use, and which limit.
    """
    from layercache.tiers.leftovers import DAY
    from layercache.upkeep import prune as prune_tier
    from layercache.upkeep import stores_of

    if leftovers_older_than is None:
        leftovers_older_than = DAY if older_than is None else min(older_than, DAY)
    lines = output.Lines((*COLUMNS, TIER) if all_tiers else COLUMNS, whole=no_trunc)
    documents = []
    with session.cache() as cache:
        for tier in stores_of(cache.tiers, everyone=all_tiers, writable=True):
            removed: list[Removed] = []
            print_line = _printer(lines, tier.name if all_tiers else "")
            report = prune_tier(
                tier,
                max_size=max_size,
                max_age=older_than,
                forget=forget,
                dry_run=dry_run,
                leftovers_older_than=leftovers_older_than,
                watcher=removed.append if as_json else print_line,
            )
            documents.append({**asdict(report), "removed": [asdict(each) for each in removed]})
            if not as_json:
                limited = _is_limited(tier, max_size, older_than)
                young = _young(report, leftovers_older_than)
                session.note(_summary(report, young, dry_run=dry_run, limited=limited))
            if not dry_run:
                cache.note_change()
    if as_json:
        output.document({"dry_run": dry_run, "tiers": documents})


def _is_limited(tier: Tier, max_size: int | None, max_age: float | None) -> bool:
    return not (max_size is max_age is tier.policy.max_size is tier.policy.max_age is None)


def _printer(lines: output.Lines, tier: str) -> Callable[[Removed], object]:
    def print_line(removed: Removed) -> None:
        from layercache.oci.digest import Hash

        name = lines.hash(Hash(removed.name))
        used = datetime.fromtimestamp(removed.last_used, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.add(name, lines.size(removed.size), used, removed.limit, *([tier] if tier else []))

    return print_line


def _young(report: Pruned, age: float) -> str:
    return f" ({report.leftovers_left} younger than {output.age(age)})" if report.leftovers_left else ""


def _summary(report: Pruned, young: str, *, dry_run: bool, limited: bool) -> str:
    words = [f"{output.count(report.blobs, 'blob')} ({output.human(report.bytes)})"]
    if not dry_run:
        words.append(output.count(report.leftovers, "leftover") + young)
    if report.facts or report.images:
        words.append(f"{output.count(report.facts, 'fact')} and {output.count(report.images, 'image')}")
    verb = "would remove" if dry_run else "removed"
    text = f"{verb} {', '.join(words)}; {output.human(report.left)} in {report.tier}"
    if report.refused:
        text += f"\n{output.count(report.refused, 'object')} of other users may not be removed by this one"
    if not limited:
        text += "\nno limit is set, so no blob had to go: name one (--max-size 20GB, --older-than 30d)"
    return text
