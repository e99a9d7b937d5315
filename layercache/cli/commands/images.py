"""``layercache images``: lists cached images, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.table import Column, Lines
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.cli.session import Session
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest
    from layercache.tiers.tier import Tier

COLUMNS = (
    Column("DIGEST", optional=True),
    Column("SIZE", right=True),
    Column("CHECKED"),
    Column("PLATFORMS"),
    Column("IMAGE", name=True),
)
TIER = Column("TIER")


@click.command(cls=Command)
@click.option("--all-tiers", is_flag=True, help="List every tier, not just the nearest.")
@json_option
@no_trunc_option
@click.pass_obj
def images(session: Session, all_tiers: bool, as_json: bool, no_trunc: bool) -> None:
    """List images: digest, size, time, platforms and reference.

    The size counts the cached blobs in compressed form. The time is that of the last check of the tag.
    The platforms are those that are completely cached. Images are sorted by name; --json prints JSON Lines.
    """
    columns = (*COLUMNS, TIER) if all_tiers else COLUMNS
    with session.cache() as cache, Lines(columns, whole=no_trunc) as lines:
        for tier in cache.tiers if all_tiers else cache.tiers[:1]:
            for row in sorted(_rows(tier), key=lambda row: row.name):
                if as_json:
                    output.line(row.document(tier))
                else:
                    lines.add(*row.cells(lines), *([tier.name] if all_tiers else []))


class Row(Value, frozen=True):
    name: str
    digest: Digest
    media_type: str
    platforms: list[str]
    size: int
    checked: float
    """Seconds since the epoch; 0 if it is unknown."""

    def cells(self, lines: Lines) -> tuple[str, ...]:
        platforms = ",".join(self.platforms) or output.UNKNOWN
        checked = output.when(self.checked, whole=lines.whole)
        return (lines.hash(self.digest), lines.size(self.size), checked, platforms, self.name)

    def document(self, tier: Tier) -> dict[str, object]:
        return {
            "name": self.name,
            "digest": self.digest,
            "media_type": self.media_type,
            "platforms": self.platforms,
            "size": self.size,
            "checked": output.when(self.checked, whole=True) if self.checked else None,
            "tier": tier.name,
        }


def _rows(tier: Tier) -> Iterator[Row]:
    from layercache.tiers import keys

    for key, descriptor in _named(tier):
        platforms, size = _held(tier, descriptor)
        yield Row(
            keys.image_name(key), descriptor.digest, descriptor.media_type, platforms, size, _time(tier, key)
        )


def _named(tier: Tier) -> Iterator[tuple[str, Descriptor]]:
    """Yield each key and what it names. Omit the digest of a pushed image that has a tag there."""
    from layercache.images.hosted import HOSTED
    from layercache.tiers import keys

    hosted = f"{keys.IMAGES}{HOSTED}/"
    found = dict(tier.images.scan())
    tagged = {
        keys.image_key_by_digest(key, image.digest)
        for key, image in found.items()
        if key.startswith(hosted) and not keys.digest_in(key)
    }
    return ((key, image) for key, image in found.items() if key not in tagged)


def _held(tier: Tier, root: Descriptor) -> tuple[list[str], int]:
    """Return the platforms whose blobs are all cached, and the size of the image's cached blobs."""
    from layercache.tiers.cached_images import cached_manifests

    there = {root.digest: root.size} if tier.blobs.has(root.digest) else {}
    platforms: dict[str, None] = {}
    for holding in cached_manifests(tier, root):
        sizes = {blob.digest: _stored_size(tier, blob) for blob in holding.blobs()}
        present = {name: size for name, size in sizes.items() if size is not None}
        there.update(present)
        if holding.is_whole(present.__contains__):
            platforms[str(holding.platform) or output.UNKNOWN] = None
    return list(platforms), sum(there.values())


def _stored_size(tier: Tier, blob: Descriptor) -> int | None:
    """Return the bytes of a cached blob, or of the one that a plain tar is stored as; None if missing."""
    from layercache.oci.descriptor import NO_COMPRESSION, compression_of
    from layercache.tiers.plain_tars import holding

    if tier.blobs.has(blob.digest):
        return blob.size
    plain = compression_of(blob.media_type) == NO_COMPRESSION
    fact = holding(tier, blob.digest) if plain else None
    return fact.size if fact else None


def _time(tier: Tier, key: str) -> float:
    """Return when the reference was last checked (seconds since the epoch); 0 if that is unknown."""
    from layercache.errors import NotFoundError

    try:
        return tier.images.time(key)
    except NotFoundError:
        return 0.0
