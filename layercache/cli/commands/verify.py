"""``layercache verify``: checks cached blobs, records, indexes and images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from layercache.cli import exit_codes, output
from layercache.cli.command import Command
from layercache.cli.option_types import SAMPLE, ReadableFile
from layercache.cli.output_options import json_option
from layercache.cli.terminal import ERROR, echo

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.tiers.backend.tier import BackendTier
    from layercache.upkeep import Checked
    from layercache.upkeep.locked import Missing, Needed

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
@click.option(
    "--lock",
    type=ReadableFile(),
    metavar="FILE",
    help="Check that the images of this lock file are cached.",
)
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]|all",
    help="With --lock: the platform. Default: Linux on this machine's architecture.",
)
@json_option
@click.pass_obj
def verify(session: Session, /, as_json: bool, **options: Any) -> None:
    """Re-hash every blob and check every record, index and image.

    Moves what is wrong into the folder quarantine/ of its tier (leaves it in place if the tier is read-only)
    and prints kind, action, object and problem. Exits with status 3 if anything is wrong. With --lock, checks
    only what the images of a lock file need, and exits with status 1 if something is missing.
    """
    from layercache.upkeep import stores_of

    chosen = Options(**options)
    chosen.check()
    tallies = []
    with session.cache() as cache:
        for tier in stores_of(cache.tiers, everyone=chosen.all_tiers):
            tally = _verify(session, tier, chosen)
            tallies.append(tally)
            if tally.problems:
                cache.note_change()
            if not as_json:
                tally.print()
                session.note(tally.summary())
    if as_json:
        output.document({"tiers": [tally.document() for tally in tallies]})
    if code := max(tally.exit_code for tally in tallies):
        click.get_current_context().exit(code)


@dataclass(frozen=True, slots=True)
class Options:
    sample: tuple[float, int | None] | None
    deep: bool
    all_tiers: bool
    jobs: int | None
    lock: BinaryIO | None
    platform: str | None

    def check(self) -> None:
        """Raise `click.UsageError` for options that exclude each other."""
        if self.lock and (self.sample or self.deep or self.all_tiers):
            raise click.UsageError(
                "--lock decides what is checked: leave out --sample, --deep and --all-tiers"
            )
        if self.platform and not self.lock:
            raise click.UsageError("--platform needs --lock")


def _verify(session: Session, tier: BackendTier, chosen: Options) -> Tally:
    from layercache.upkeep import Sample
    from layercache.upkeep import verify as verify_tier

    tally, only = Tally(tier.name), None
    if chosen.lock:
        tally.locked, needed = _needed(tier, chosen.lock, chosen.platform)
        tally.missing, only = needed.missing, needed.blobs
    wanted = Sample(*chosen.sample) if chosen.sample else None
    with session.activity.step(f"verifying {tier.name}", noun="object") as step:
        for checked in verify_tier(tier, sample=wanted, deep=chosen.deep, jobs=chosen.jobs, only=only):
            tally.add(checked)
            step.advance(checked.size if checked.kind == "blob" else 0, objects=1)
    return tally


def _needed(tier: BackendTier, lock: BinaryIO, platform: str | None) -> tuple[int, Needed]:
    """How many images a lock file has, and what they need."""
    from layercache.oci.platforms import ALL, default_platform, parse_platform
    from layercache.pull.lists import read_lock
    from layercache.upkeep.locked import find_needed

    references = read_lock(lock, str(getattr(lock, "name", "-")))
    wanted = None if platform == ALL else parse_platform(platform) if platform else default_platform()
    return len(references), find_needed(tier, references, wanted)


def _print(checked: Checked) -> None:
    done = "unreadable" if checked.unreadable else DONE[checked.quarantined]
    if output.is_terminal():
        echo(f"{checked.key}\n  {checked.problem}: {done}", mark=(done, ERROR))
    else:
        echo(f"{checked.kind}\t{done}\t{checked.key}\t{checked.problem}")


@dataclass
class Tally:
    """What was checked in a tier, and what is wrong there. ``locked``: images of a lock file, if that was
    checked; ``missing``: what they need and is not there.
    """

    tier: str
    blobs: int = 0
    bytes: int = 0
    records: int = 0
    indexes: int = 0
    images: int = 0
    problems: list[Checked] = field(default_factory=list)
    locked: int | None = None
    missing: list[Missing] = field(default_factory=list)

    def add(self, checked: Checked) -> None:
        match checked.kind:
            case "blob":
                self.blobs += 1
                self.bytes += checked.size
            case "record":
                self.records += 1
            case "index":
                self.indexes += 1
            case "image":
                self.images += 1
        if checked.problem:
            self.problems.append(checked)

    def print(self) -> None:
        for each in self.problems:
            _print(each)
        for lack in self.missing:
            lines = (lack.image, f"  {lack.problem}") if output.is_terminal() else ()
            echo("\n".join(lines) or f"image\tincomplete\t{lack.image}\t{lack.problem}")

    def summary(self) -> str:
        blobs = f"{output.count(self.blobs, 'blob')} ({output.human(self.bytes)})"
        if self.locked is not None:
            result = f"{len(self.problems)} wrong, {len(self.missing)} missing"
            return f"checked {blobs} of {output.count(self.locked, 'image')} in {self.tier}: {result}"
        rest = output.count(self.records, "record")
        if self.indexes:
            rest += f", {output.count(self.indexes, 'index', 'indexes')}"
        images = output.count(self.images, "image")
        return f"checked {blobs}, {rest} and {images} in {self.tier}: {len(self.problems)} wrong"

    def document(self) -> dict[str, Any]:
        document = asdict(self)
        for each in document["problems"]:
            del each["missing"]  # what is missing is listed separately
        if self.locked is None:
            del document["locked"], document["missing"]
        return document

    @property
    def exit_code(self) -> int:
        if any(not each.unreadable for each in self.problems):
            return exit_codes.INTEGRITY
        if self.problems:
            return exit_codes.FAILED
        return exit_codes.NOT_FOUND if self.missing else 0
