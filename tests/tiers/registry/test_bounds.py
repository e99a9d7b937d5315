"""What is read of a registry that others push to is bounded, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.stores import fact

from layercache import NotFoundError
from layercache.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import keys
from layercache.tiers.association import FACTS_MAX
from layercache.tiers.opening import open_tier
from layercache.tiers.record import Record
from layercache.tiers.registry.record import NameRecord, image_record, image_tag_of, tag_of
from layercache.tiers.registry.records import RECORD_MAX
from layercache.tiers.registry.tier import RegistryTier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.registry import Registry

DIGEST, DIFF_ID = Digest.of(b"blob"), DiffID(Hash.of(b"tar"))
KEY = keys.image_tag("host", "name", "latest")


@pytest.fixture
def tier(registry: Registry) -> Iterator[RegistryTier]:
    tier = open_tier(f"oci://{registry.host}/team/bounds", nearest=False)
    assert isinstance(tier, RegistryTier)
    yield tier
    tier.close()


def padded(record: bytes) -> bytes:
    return record + b" " * RECORD_MAX


def test_a_huge_record_says_nothing_and_is_replaced(tier: RegistryTier) -> None:
    known = fact(DIGEST, DIFF_ID, 9, tar_size=9)
    tier.facts.record(known)
    tag = tag_of(DIGEST)
    tier.repository.put_manifest(tag, padded(NameRecord(Record(DIGEST, (known,))).encode()), OCI_MANIFEST)
    assert tier.facts.inflates_to(DIGEST) == []
    assert list(tier.facts.scan()) == []
    tier.facts.record(known)
    assert tier.facts.inflates_to(DIGEST) == [known]


def test_a_huge_record_of_an_image_names_nothing(tier: RegistryTier) -> None:
    tier.images.tag(KEY, Descriptor(media_type=OCI_INDEX, digest=DIGEST, size=9))
    named = image_record(KEY, Descriptor(media_type=OCI_INDEX, digest=DIGEST, size=9))
    tier.repository.put_manifest(image_tag_of(KEY), padded(named), OCI_MANIFEST)
    with pytest.raises(NotFoundError):
        tier.images.get(KEY)
    assert list(tier.images.scan()) == []


def test_of_very_many_facts_in_a_record_a_few_are_taken() -> None:
    facts = [
        fact(Digest.of(b"%d" % number), DIFF_ID, 9, computed=computed, tar_size=9)
        for computed in (True, False)
        for number in range(100)
    ]
    crowded = NameRecord(Record(Hash(DIFF_ID), tuple(facts)))
    found = NameRecord.decode(crowded.encode(), tag_of(DIFF_ID))
    assert [each.computed for each in found.record.facts] == [True] * FACTS_MAX
    assert len(found.encode()) < RECORD_MAX
