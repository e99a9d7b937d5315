"""``layercache prune``: evicts blobs and removes leftovers on request."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.option_types import AGE, SIZE
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.table import Column, Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cli.activity import Step
    from layercache.cli.session import Session
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.tier import Tier
    from layercache.upkeep import Pruned, Removed

COLUMNS = (
    Column("NAME", name=True),
    Column("SIZE", right=True),
    Column("LAST USED"),
    Column("LIMIT"),
)
TIER = Column("TIER")


@click.command(cls=Command)
@click.option(
    "--max-size", type=SIZE, metavar="SIZE", help="Evict until all blobs together fit: 20GB, 500MiB."
)
@click.option(
    "--older-than", type=AGE, metavar="AGE", help="Evict blobs that were not used for this long: 30d, 12h."
)
@click.option(
    "--leftovers-older-than",
    type=AGE,
    metavar="AGE",
    help="Remove unfinished writes that started this long ago. Default: 1d, or --older-than if less.",
)
@click.option(
    "--forget", is_flag=True, help="Also remove associations and images that have no cached blob left."
)
@click.option("--dry-run", "-n", is_flag=True, help="Remove nothing; print what would be removed.")
@click.option("--all-tiers", is_flag=True, help="Prune every writable tier, not just the nearest.")
@json_option
@no_trunc_option
@click.pass_obj
def prune(session: Session, /, all_tiers: bool, as_json: bool, no_trunc: bool, **options: Any) -> None:
    """Evict least recently used blobs, and clean up leftovers.

    Leftovers are unfinished writes of killed processes. Evicts blobs until the limits are met: first tars
    that can be inflated again from a cached blob, last the documents of images. Without --max-size and
    --older-than, the limits of the cache's URL apply; if it has none, only leftovers are removed. An
    unfinished write that is older than --leftovers-older-than fails, even if its writer is still running.
    Prints each evicted blob: name, size, last use, and limit.
    """
    from layercache.upkeep import stores_of

    limits = Options(**options)
    columns = (*COLUMNS, TIER) if all_tiers else COLUMNS
    documents = []
    with session.cache() as cache:
        for tier in stores_of(cache.tiers, everyone=all_tiers, writable=True):
            removed: list[Removed] = []
            with (
                session.activity.step(f"pruning {tier.name}", noun="blob") as step,
                Lines(columns, whole=no_trunc) as lines,
            ):
                print_line = _printer(lines, tier.name if all_tiers else "")
                watcher = _counting(step, removed.append if as_json else print_line)
                report = _prune(tier, limits, watcher)
            documents.append({**asdict(report), "removed": [asdict(each) for each in removed]})
            if not as_json:
                session.note(_summary(report, tier, limits))
            if not limits.dry_run:
                cache.note_change()
    if as_json:
        output.document({"dry_run": limits.dry_run, "tiers": documents})


@dataclass(frozen=True, slots=True)
class Options:
    """Bytes and seconds; None if an option was not given."""

    max_size: int | None
    older_than: float | None
    leftovers_older_than: float | None
    forget: bool
    dry_run: bool

    @property
    def leftovers_age(self) -> float:
        from layercache.tiers.leftovers import DAY

        if self.leftovers_older_than is not None:
            return self.leftovers_older_than
        return DAY if self.older_than is None else min(self.older_than, DAY)

    def bound(self, tier: Tier) -> bool:
        """Whether the options or the tier's policy set a limit."""
        limits = (self.max_size, self.older_than, tier.policy.max_size, tier.policy.max_age)
        return any(limit is not None for limit in limits)


def _prune(tier: BackendTier, options: Options, watcher: Callable[[Removed], object]) -> Pruned:
    from layercache.upkeep import prune as prune_tier

    return prune_tier(
        tier,
        max_size=options.max_size,
        max_age=options.older_than,
        forget=options.forget,
        dry_run=options.dry_run,
        leftovers_older_than=options.leftovers_age,
        watcher=watcher,
    )


def _counting(step: Step, watcher: Callable[[Removed], object]) -> Callable[[Removed], object]:
    def count(removed: Removed) -> None:
        step.advance(removed.size, objects=1)
        watcher(removed)

    return count


def _printer(lines: Lines, tier: str) -> Callable[[Removed], object]:
    def print_line(removed: Removed) -> None:
        from layercache.oci.digest import Hash

        name = lines.hash(Hash(removed.name))
        used = output.when(removed.last_used, whole=lines.whole)
        lines.add(name, lines.size(removed.size), used, removed.limit, *([tier] if tier else []))

    return print_line


def _leftovers(report: Pruned, age: float) -> str:
    younger = f" ({report.leftovers_left} younger than {output.age(age)})" if report.leftovers_left else ""
    return output.count(report.leftovers, "leftover") + younger


def _summary(report: Pruned, tier: Tier, options: Options) -> str:
    parts = [f"{output.count(report.blobs, 'blob')} ({output.human(report.bytes)})"]
    if not options.dry_run:
        parts.append(_leftovers(report, options.leftovers_age))
    if report.records or report.images:
        associations = output.count(report.records, "association")
        parts.append(f"{associations} and {output.count(report.images, 'image')}")
    verb = "would remove" if options.dry_run else "removed"
    text = f"{verb} {', '.join(parts)}; {output.human(report.left)} left in {report.tier}"
    if report.refused:
        text += f"\n{output.count(report.refused, 'object')} not removed: owned by other users"
    if not options.bound(tier):
        text += "\nno limit is set, so nothing was evicted; set one (--max-size 20GB, --older-than 30d)"
    return text
