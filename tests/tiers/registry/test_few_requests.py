"""What a new layer costs at a registry, and that no fact of another writer is lost for that."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from tiers.contract import GZIP, PLAIN, fact_of, read, verified

import layercache
from layercache.oci.digest import DiffID, Digest
from layercache.tiers.opening import open_tier
from layercache.tiers.registry.record import tag_of
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.registry import Registry

    from layercache.tiers.tier import Tier

CACHE = "team/cache"


def opened(registry: Registry) -> Tier:
    return open_tier(f"oci://{registry.host}/{CACHE}", nearest=False)


@pytest.fixture
def tier(registry: Registry) -> Iterator[Tier]:
    """One machine's."""
    tier = opened(registry)
    yield tier
    tier.close()


@pytest.fixture
def other(registry: Registry) -> Iterator[Tier]:
    """Another machine's."""
    tier = opened(registry)
    yield tier
    tier.close()


def create(tier: Tier, data: bytes) -> bool | None:
    with verified(data, Digest.of(data)) as reader:
        return tier.blobs.create(Digest.of(data), reader, len(data))


def shortened(registry: Registry, since: int) -> list[str]:
    """What was asked of the registry since then, without the host, the repository and the upload."""
    names = {tag_of(GZIP.digest): "DIGEST", tag_of(GZIP.diff_id): "DIFF-ID"}
    found = []
    for access in registry.accesses()[since:]:
        parts = access.path.partition("?")[0].removeprefix(f"/v2/{CACHE}/").split("/")
        kind = "uploads" if "uploads" in parts else f"{parts[0]}/{names.get(parts[-1], '…')}"
        found.append(f"{access.method} {kind} {access.status}")
    return found


def test_a_new_small_layer_is_one_upload_and_two_records_each_read_and_written_once(
    registry: Registry, tmp_path: Path
) -> None:
    with layercache.open([f"file://{tmp_path}/near", f"oci://{registry.host}/{CACHE}"]) as cache:
        cache.put(io.BytesIO(PLAIN.blob))  # with the first one, a process brings the empty blob
        cache.flush()
        before = len(registry.accesses())
        cache.put(io.BytesIO(GZIP.blob))
    assert shortened(registry, before) == [
        "GET manifests/DIGEST 404",
        "POST uploads 202",
        "PUT uploads 201",
        "PUT manifests/DIGEST 201",
        "GET manifests/DIFF-ID 404",
        "PUT manifests/DIFF-ID 201",
    ]
    tier = opened(registry)
    assert tier.facts.inflates_to(GZIP.digest) == tier.facts.made_from(GZIP.diff_id) == [fact_of(GZIP)]
    assert GZIP.digest in {name for name, _ in tier.blobs.scan()}
    tier.close()


def test_what_others_know_of_a_blob_is_kept_when_it_comes(tier: Tier, other: Tier) -> None:
    claims = [replace(fact_of(GZIP, computed=False), diff_id=DiffID.of(b"%d" % number)) for number in (1, 2)]
    other.facts.record(claims[0])
    tier.facts.expect(fact_of(GZIP))
    assert create(tier, GZIP.blob)
    other.facts.record(claims[1])
    tier.facts.record(fact_of(GZIP))
    found = other.facts.inflates_to(GZIP.digest, claims=True)
    assert {fact.diff_id for fact in found} == {GZIP.diff_id, *(fact.diff_id for fact in claims)}
    assert [name for name, _ in other.blobs.scan()] == [GZIP.digest]


def test_what_this_process_learns_while_a_blob_is_sent_is_kept(tier: Tier) -> None:
    claim = fact_of(GZIP, computed=False)
    reader = Meanwhile(GZIP.blob, lambda: tier.facts.record(claim))
    assert tier.blobs.create(GZIP.digest, reader, len(GZIP.blob))
    assert tier.facts.inflates_to(GZIP.digest) == [claim]
    assert [name for name, _ in tier.blobs.scan()] == [GZIP.digest]


class Meanwhile(io.BytesIO):
    """A blob, and what happens while it is read."""

    modified = None

    def __init__(self, data: bytes, happens: Callable[[], object]) -> None:
        super().__init__(data)
        self.size = len(data)
        self._happens = happens

    def read(self, size: int | None = -1, /) -> bytes:
        self._happens()
        return super().read(size)


def test_a_small_blob_that_its_record_promises_in_vain_is_sent_again(registry: Registry, tier: Tier) -> None:
    assert [create(tier, GZIP.blob) for _ in range(2)] == [True, False]
    registry.forget(GZIP.digest)
    assert create(tier, GZIP.blob)
    assert read(tier, GZIP.digest) == GZIP.blob


def test_a_fact_whose_blob_does_not_come_is_not_written(tier: Tier) -> None:
    tier.facts.expect(fact_of(GZIP))
    assert create(tier, PLAIN.blob)
    assert list(tier.facts.scan()) == []


def test_a_fact_that_was_written_with_its_blob_can_be_forgotten_at_once(tier: Tier) -> None:
    tier.facts.expect(fact_of(GZIP))
    assert create(tier, GZIP.blob)
    tier.facts.forget(fact_of(GZIP))
    assert tier.facts.inflates_to(GZIP.digest) == []
    tier.facts.record(fact_of(GZIP))
    assert tier.facts.inflates_to(GZIP.digest) == [fact_of(GZIP)]
