"""``layercache verify``: checks cached blobs, associations and images."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import click

from layercache.cli import exit_codes, output
from layercache.cli.option_types import SAMPLE
from layercache.cli.session import Command, Session

if TYPE_CHECKING:
    from layercache.upkeep import Checked

KINDS = {"blob": "blob", "fact": "association", "image": "image"}
DONE = {True: "quarantined", False: "left in place"}


@click.command(cls=Command)
@click.option(
    "--sample", type=SAMPLE, metavar="SHARE", help="Check a random sample: 5%, or a number of objects."
)
@click.option("--deep", is_flag=True, help="Also inflate blobs and check their diff IDs.")
@click.option("--all-tiers", is_flag=True, help="Verify every tier, not just the nearest.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    metavar="N",
    help="Objects to check in parallel. Default: the number of cores.",
)
@output.json_option
@click.pass_obj
def verify(
    session: Session,
    sample: tuple[float, int | None] | None,
    deep: bool,
    all_tiers: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Re-hash every blob and check every association and image.

    Moves what is wrong into the folder quarantine/ of its tier (leaves it in place if the tier is read-only)
    and prints kind, action, object and problem. Exits with status 3 if anything is wrong.
    """
    from layercache.cli.progress import counted
    from layercache.upkeep import Sample, stores_of
    from layercache.upkeep import verify as verify_tier

    wanted = Sample(*sample) if sample else None
    visible = sys.stderr is not None and sys.stderr.isatty() and not session.quiet
    tallies = []
    with session.cache() as cache:
        for tier in stores_of(cache.tiers, everyone=all_tiers):
            tally = Tally(tier.name)
            tallies.append(tally)
            with counted(f"verifying {tier.name}", visible=visible) as progress:
                for checked in verify_tier(tier, sample=wanted, deep=deep, jobs=jobs):
                    tally.add(checked)
                    progress(checked.size if checked.kind == "blob" else 0)
            if tally.problems:
                cache.note_change()
            for each in () if as_json else tally.problems:
                _print(each)
            if not as_json:
                session.note(tally.summary())
    if as_json:
        output.document({"tiers": [asdict(tally) for tally in tallies]})
    if code := max(tally.exit_code for tally in tallies):
        click.get_current_context().exit(code)


def _print(checked: Checked) -> None:
    done = "unreadable" if checked.unreadable else DONE[checked.put_aside]
    if output.is_terminal():
        click.echo(f"{checked.key}\n  {checked.problem}: {done}")
    else:
        click.echo(f"{KINDS[checked.kind]}\t{done}\t{checked.key}\t{checked.problem}")


@dataclass
class Tally:
    """What was checked in a tier, and what is wrong there."""

    tier: str
    blobs: int = 0
    bytes: int = 0
    facts: int = 0
    images: int = 0
    problems: list[Checked] = field(default_factory=list)

    def add(self, checked: Checked) -> None:
        match checked.kind:
            case "blob":
                self.blobs += 1
                self.bytes += checked.size
            case "fact":
                self.facts += 1
            case "image":
                self.images += 1
        if checked.problem:
            self.problems.append(checked)

    def summary(self) -> str:
        blobs = f"{output.count(self.blobs, 'blob')} ({output.human(self.bytes)})"
        rest = f"{output.count(self.facts, 'association')} and {output.count(self.images, 'image')}"
        return f"checked {blobs}, {rest} in {self.tier}: {len(self.problems)} wrong"

    @property
    def exit_code(self) -> int:
        if any(not each.unreadable for each in self.problems):
            return exit_codes.INTEGRITY
        return exit_codes.FAILED if self.problems else 0
