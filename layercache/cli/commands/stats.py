"""``layercache stats``: counts what each tier holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.session import Command, Session
from layercache.errors import BackendError

if TYPE_CHECKING:
    from layercache.tiers.leftovers import LeftoverCount
    from layercache.tiers.tier import Tier


@click.command(cls=Command)
@output.json_option
@click.pass_obj
def stats(session: Session, as_json: bool) -> None:
    """Count what each tier holds.

    Counts blobs and their bytes, layers by their cached forms, images, and leftovers (unfinished writes).
    Reads every object of every tier, which is slow for a big far tier.
    """
    found = []
    with session.cache() as cache:
        for tier in cache.tiers:
            counted = _count(tier)
            left = _leftovers(tier)
            found.append({**counted, **_document(left)})
            if not as_json:
                _print(counted, left)
    if as_json:
        output.document({"tiers": found})


def _count(tier: Tier) -> dict[str, object]:
    from layercache.tiers import inventory

    blobs = size = 0
    for _, entry in tier.blobs.scan():
        blobs += 1
        size += entry.size
    forms = Counter(held.forms for held in inventory.layers(tier))
    return {
        "tier": tier.name,
        "blobs": blobs,
        "bytes": size,
        "max_size": tier.policy.max_size,
        "max_age": tier.policy.max_age,
        "layers": forms.total(),
        "both_forms": forms["both"],
        "compressed_only": forms["compressed"],
        "uncompressed_only": forms["uncompressed"],
        "no_form": forms["none"],
        "images": sum(1 for _ in tier.images.scan()),
    }


def _leftovers(tier: Tier) -> LeftoverCount | None:
    """Count unfinished writes; None if the store cannot list them or forbids it."""
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.leftovers import count_leftovers

    try:
        return count_leftovers(tier.backend) if isinstance(tier, BackendTier) else None
    except BackendError:
        return None


def _document(left: LeftoverCount | None) -> dict[str, object]:
    return {
        "leftovers": left and left.count,
        "leftover_bytes": left and left.bytes,
        "leftover_age": left and left.oldest,
    }


def _print(counted: dict[str, object], left: LeftoverCount | None) -> None:
    size = counted["bytes"]
    assert isinstance(size, int)
    forms = (
        f"{counted['both_forms']} in both forms, {counted['compressed_only']} compressed only, "
        f"{counted['uncompressed_only']} uncompressed only, {counted['no_form']} not cached"
    )
    click.echo(f"{counted['tier']}")
    click.echo(f"  blobs   {counted['blobs']}, {output.human(size)} ({size} bytes)")
    if limits := _limits(counted, size):
        click.echo(f"  limits  {limits}")
    click.echo(f"  layers  {counted['layers']}: {forms}")
    click.echo(f"  images  {counted['images']}")
    if left and left.count:
        click.echo(f"  leftovers  {left}")


def _limits(counted: dict[str, object], size: int) -> str:
    words = []
    if isinstance(limit := counted["max_size"], int):
        words.append(f"{output.human(limit)}, {size / limit:.0%} full" if limit else "0 B")
    if isinstance(age := counted["max_age"], float):
        words.append(f"{output.age(age)} unused")
    return "; ".join(words)
