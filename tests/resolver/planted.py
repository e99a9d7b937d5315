"""Blobs that are planted in a tier under the diff ID of another tar, and what a reader gets then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixtures.layers import large, sample
from fixtures.stores import fact, write_blob

import layercache
from layercache import LayercacheError
from layercache.events import Event
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.tiers.tier import Tier

TRUE, EVIL = sample(1), sample(2)
BIG, BIG_EVIL = large(3), large(4)


def plant(tier: Tier, blob: bytes, wanted: str, *, computed: bool = True) -> Digest:
    """A blob, and somebody's word that the tar of this name is inside it."""
    digest = Digest.of(blob)
    write_blob(tier, digest, blob)
    tier.facts.record(fact(digest, layercache.DiffID(wanted), len(blob), computed=computed))
    return digest


def lie(tier: Tier, *, computed: bool = True, big: bool = False) -> None:
    wanted, wrong = (BIG, BIG_EVIL) if big else (TRUE, EVIL)
    plant(tier, wrong.blob, wanted.diff_id, computed=computed)


class Inflations(list[Event]):
    """A watcher that keeps the beginnings of inflations, of which some end in an error."""

    def __call__(self, event: Event) -> None:
        if event.kind == "inflating":
            self.append(event)


def given(cache: Cache, name: str) -> tuple[bytes, LayercacheError | None]:
    """What a reader of the compressed form got, and how it ended."""
    got = b""
    try:
        with cache.get(name).compressed() as stream:
            while part := stream.read(1000):
                got += part
    except LayercacheError as error:
        return got, error
    return got, None
