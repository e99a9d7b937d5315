"""Completes image names and hashes on the command line, from what the nearest cache on this machine lists.

A shell runs this each time that the Tab key is pressed. So nothing here contacts a network, reads an object,
or prints an error.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from layercache.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import click

LISTED_MAX = 20_000
"""Objects that are listed at most: some 0.1 seconds."""

SHOWN_MAX = 200


def complete_image(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the cached images whose names, short or full, begin with the text."""
    return _matching(_image_names(ctx), incomplete)


def complete_repository(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the repositories of cached images."""
    names = (name.partition("@")[0] for name in _image_names(ctx))
    return _matching((f"{above}{last.partition(':')[0]}" for above, last in map(_split, names)), incomplete)


def complete_hash(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the hashes of cached blobs, with or without their algorithm, as the text has it."""
    whole = ":" in incomplete
    return _matching((name if whole else name.partition(":")[2] for name in _blob_names(ctx)), incomplete)


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return images and hashes; hashes only where some digits were typed."""
    images = complete_image(ctx, param, incomplete)
    return images + (complete_hash(ctx, param, incomplete) if incomplete else [])


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    found = []
    with suppress(Exception):  # nobody could read an error: the shell shows completions only
        found = sorted({name for name in names if name.startswith(incomplete)})
    return found[:SHOWN_MAX]


def _image_names(ctx: click.Context) -> Iterator[str]:
    """Each image by its full and its short name."""
    from layercache.oci.reference import Reference
    from layercache.tiers import keys

    for key in _listed(ctx, keys.IMAGES):
        full = keys.image_name(key)
        yield full
        yield Reference.parse(full).familiar


def _blob_names(ctx: click.Context) -> Iterator[str]:
    from layercache.tiers import keys

    for key in _listed(ctx, keys.BLOBS):
        if name := keys.blob_name(key):
            yield str(name)


def _listed(ctx: click.Context, folder: str) -> Iterator[str]:
    """The keys in a folder of the nearest cache, if that is on this machine."""
    from layercache.backend import BackendURL
    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.opening import open_tier
    from layercache.tiers.policy import ON_THIS_MACHINE

    session = ctx.find_object(Session) or Session()
    nearest = session.tiers()[0]
    if BackendURL.parse(nearest).scheme in ON_THIS_MACHINE:
        tier = open_tier(nearest, nearest=True)
        if isinstance(tier, BackendTier):
            for entry in islice(tier.backend.scan(folder), LISTED_MAX):
                yield entry.key


def _split(name: str) -> tuple[str, str]:
    above, slash, last = name.rpartition("/")
    return f"{above}{slash}", last
