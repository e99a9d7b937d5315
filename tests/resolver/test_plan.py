"""The plan of a read as a table: the places that are tried for a form, and their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.stores import Store, fact, store_of

from layercache.oci.digest import DiffID, Digest
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form
from layercache.resolver.identity import LayerIdentity
from layercache.resolver.plan import Way, plan
from layercache.sources.function import FunctionSource
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Keep, Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.tiers.tier import Tier

GZIP, ZSTD, TAR = Digest.of(b"gzip"), Digest.of(b"zstd"), DiffID.of(b"tar")
NAMES = {str(GZIP): "gzip", str(ZSTD): "zstd", str(TAR): "tar"}


def tier(name: str, *, local: bool, trusted: bool, keep: Keep = "both") -> Tier:
    made = BackendTier(Store(MemoryBackend()), Policy(keep=keep, trusted=trusted))
    made.name, made.remote = name, not local
    return made


DISK = tier("disk", local=True, trusted=True)
SHARED = tier("shared", local=True, trusted=True)
BUCKET = tier("bucket", local=False, trusted=False, keep="compressed")
WIDE = tier("wide", local=False, trusted=False)

BY_DIGEST = LayerIdentity.stated(GZIP, TAR, 4)
"""As an image has it: its config says which tar is inside."""

OPAQUE = LayerIdentity.stated(GZIP, None, 4)
HEARD = LayerIdentity.from_fact(fact(GZIP, TAR, 4, computed=False))
"""By digest; only a claim says which tar is inside."""

COMPUTED = LayerIdentity.from_fact(fact(GZIP, TAR, 4))
ASKED = LayerIdentity.from_fact(fact(GZIP, TAR, 4), TAR, {GZIP: fact(GZIP, TAR, 4), ZSTD: fact(ZSTD, TAR, 5)})
"""By diff ID, and two blobs are known to inflate to it."""

CLAIMED = LayerIdentity.from_fact(
    fact(GZIP, TAR, 4, computed=False),
    TAR,
    {GZIP: fact(GZIP, TAR, 4, computed=False), ZSTD: fact(ZSTD, TAR, 5)},
)
"""By diff ID: of the gzip only a claim says that it is this layer, of the zstd it was computed."""


def shown(way: Way) -> str:
    """``place: what is opened there``; ``!``: near, ``?``: only a claim leads there."""
    place = "source" if way.tier is None else way.place.name
    return f"{place}{'!' if way.near else ''}: {NAMES[way.name]}{'?' if way.claimed else ''}"


TABLE: list[tuple[str, LayerIdentity, Form, list[Tier], int, str]] = [
    # situation, identity, wanted form, tiers, how many of them are near, the ways
    ("a blob by its digest", BY_DIGEST, COMPRESSED, [DISK, BUCKET], 1,
     "disk!: gzip, bucket: gzip, source: gzip"),
    ("its tar: ready, else inflated where the blob is", BY_DIGEST, UNCOMPRESSED, [DISK, BUCKET], 1,
     "disk!: tar, disk: gzip, bucket: gzip, source: gzip"),
    ("a tar is brought from afar only where the blob is not there", BY_DIGEST, UNCOMPRESSED, [DISK, WIDE], 1,
     "disk!: tar, disk: gzip, wide: gzip, wide: tar, source: gzip"),
    ("a tar in any near tier costs less than inflating", BY_DIGEST, UNCOMPRESSED, [DISK, SHARED, BUCKET], 2,
     "disk!: tar, shared!: tar, disk: gzip, shared: gzip, bucket: gzip, source: gzip"),
    ("where nothing is near, each tier is taken in turn", BY_DIGEST, UNCOMPRESSED, [DISK, SHARED, BUCKET], 0,
     "disk: tar, disk: gzip, shared: tar, shared: gzip, bucket: gzip, source: gzip"),
    ("of an unknown tar only the blob can be looked for", OPAQUE, UNCOMPRESSED, [DISK, BUCKET], 1,
     "disk: gzip, bucket: gzip, source: gzip"),
    ("a tar that only a claim names is not taken", HEARD, UNCOMPRESSED, [DISK, BUCKET], 1,
     "disk: gzip, bucket: gzip, source: gzip"),
    ("one that was computed is", COMPUTED, UNCOMPRESSED, [DISK, BUCKET], 1,
     "disk!: tar, disk: gzip, bucket: gzip, source: gzip"),
    ("by diff ID any blob will do that was computed", ASKED, COMPRESSED, [DISK, BUCKET], 1,
     "disk!: gzip, disk!: zstd, bucket: gzip, bucket: zstd, source: gzip"),
    ("what only a claim leads to comes after all that is sure", CLAIMED, COMPRESSED, [DISK, BUCKET], 1,
     "disk!: zstd, bucket: zstd, disk: gzip?, bucket: gzip?, source: gzip"),
    ("a tar is hashed anyway, so a claim may lead to its blob", CLAIMED, UNCOMPRESSED, [DISK, BUCKET], 1,
     "disk!: tar, disk: gzip, disk: zstd, bucket: gzip, bucket: zstd, source: gzip"),
    ("a nearest tier that is not trusted", BY_DIGEST, UNCOMPRESSED, [WIDE, BUCKET], 1,
     "wide!: tar, wide: gzip, bucket: gzip, source: gzip"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_the_ways_to_a_form_in_the_order_of_their_cost(
    row: tuple[str, LayerIdentity, Form, list[Tier], int, str],
) -> None:
    _, identity, form, tiers, near, expected = row
    source = FunctionSource(GZIP, lambda _: pytest.fail("a plan opens nothing"))
    source.name = "source"
    assert ", ".join(map(shown, plan(identity, form, tiers, tiers[:near], source))) == expected
    assert all(not store_of(each).asked for each in tiers), "a plan asks nobody"


def test_without_a_source_and_without_names_there_is_no_way() -> None:
    assert not list(plan(LayerIdentity(), COMPRESSED, [DISK, BUCKET], [DISK]))
    assert not list(plan(LayerIdentity(), UNCOMPRESSED, [DISK, BUCKET], [DISK]))


def test_the_near_part_of_a_plan_is_its_beginning() -> None:
    for _, identity, form, tiers, near, _ in TABLE:
        ways = list(plan(identity, form, tiers, tiers[:near]))
        assert [way.near for way in ways] == sorted((way.near for way in ways), reverse=True)
