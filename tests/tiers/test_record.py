"""A record is one value in any order of writing, and what is torn, foreign or hostile says nothing."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.stores import fact
from hypothesis import given, settings
from hypothesis import strategies as st

from layercache.backend import SMALL_OBJECT
from layercache.errors import FormatError
from layercache.oci.descriptor import OCI_LAYER_GZIP
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers.association import FACTS_MAX, Association
from layercache.tiers.record import Pair, Record

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = Hash.of(b"name")
FACT = fact(Digest(NAME), DiffID.of(b"tar"), 4, tar_size=3, media_type=OCI_LAYER_GZIP)

few_examples = settings(max_examples=150)

digests = st.sampled_from([Digest(NAME), *(Digest.of(b"blob %d" % number) for number in range(2))])
diff_ids = st.sampled_from(
    [DiffID(NAME), *(DiffID.of(b"tar %d" % number) for number in range(2)), DiffID.of(b"tar", "sha512")]
)
facts = st.builds(
    Association,
    digest=digests,
    diff_id=diff_ids,
    size=st.integers(0, 2),
    media_type=st.sampled_from([OCI_LAYER_GZIP, "application/octet-stream"]),
    uncompressed_size=st.none() | st.integers(0, 2),
    computed=st.booleans(),
).filter(lambda made: NAME in (made.digest, made.diff_id))


def learn(made: Association) -> Callable[[Record], Record]:
    return lambda record: record.with_fact(made)


def forget(made: Association) -> Callable[[Record], Record]:
    return lambda record: record.without_fact(made)


def refute(made: Association) -> Callable[[Record], Record]:
    return lambda record: record.refuting(made)


def _pairs(record: Record) -> set[Pair]:
    return {Pair(each.digest, each.diff_id) for each in record.facts} | record.refuted


changes = st.lists(st.tuples(st.sampled_from([learn, learn, forget, refute]), facts), max_size=6)
records = changes.map(lambda made: reduce(lambda now, each: each[0](each[1])(now), made, Record(NAME)))


@few_examples
@given(records, records, records)
def test_records_are_merged_in_any_order_and_any_number_of_times(
    one: Record, two: Record, six: Record
) -> None:
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(six) == one.merge(two.merge(six))
    assert one.merge(one) == one
    assert one.merge(Record(NAME)) == one


@few_examples
@given(records, records)
def test_no_merge_loses_a_pair_that_nobody_refuted_and_computed_beats_claimed(
    one: Record, two: Record
) -> None:
    merged = one.merge(two)
    known = {Pair(each.digest, each.diff_id): each for each in merged.facts}
    for each in (*one.facts, *two.facts):
        pair = Pair(each.digest, each.diff_id)
        assert pair in known or pair in merged.refuted
        if each.computed and pair in known:
            assert known[pair].computed
    assert not known.keys() & merged.refuted


@few_examples
@given(records)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert Record.decode(record.encode(), NAME) == record


@few_examples
@given(records)
def test_a_blob_has_one_computed_diff_id_of_each_algorithm(record: Record) -> None:
    computed = [(each.digest, each.diff_id.algorithm) for each in record.facts if each.computed]
    assert len(set(computed)) == len(computed)


@few_examples
@given(records, facts)
def test_what_was_refuted_comes_back_only_if_it_is_computed(record: Record, false: Association) -> None:
    pair = Pair(false.digest, false.diff_id)
    refuted = record.refuting(false)
    claimed = refuted.with_fact(Association(false.digest, false.diff_id, 1))
    assert pair not in {Pair(each.digest, each.diff_id) for each in claimed.facts}
    assert pair not in {
        Pair(each.digest, each.diff_id) for each in record.merge(claimed).facts if not each.computed
    }
    learned = Association(false.digest, false.diff_id, 1, computed=True)
    assert learned in claimed.with_fact(learned).facts


@few_examples
@given(records, facts)
def test_a_fact_that_was_forgotten_can_be_learned_again(record: Record, made: Association) -> None:
    forgotten = record.with_fact(made).without_fact(made)
    assert made not in forgotten.facts
    if Pair(made.digest, made.diff_id) not in _pairs(forgotten):
        assert made in forgotten.with_fact(made).facts


def test_what_was_just_computed_holds_against_what_the_record_says() -> None:
    other = fact(Digest(NAME), DiffID.of(b"another tar"), 4)
    record = Record(NAME).with_fact(other).with_fact(FACT)
    assert record.facts == (FACT,)
    assert record.refuted == {(other.digest, other.diff_id)}
    assert record.with_fact(other).facts == (other,)


def test_a_record_of_as_many_facts_as_it_may_have_is_a_small_object() -> None:
    digest, tar = Digest(Hash.of(b"", "sha512")), DiffID(Hash.of(b"", "sha512"))
    full = Record(Hash(tar))
    for number in range(FACTS_MAX * 2):
        name = Hash.of(b"%d" % number, "sha512")
        kind, size = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 1 << 60
        full = full.with_fact(
            fact(Digest(name), tar, size, tar_size=10**17, media_type=kind, computed=number % 2 == 0)
        )
        full = full.with_fact(
            fact(digest, DiffID(name), size, tar_size=10**17, media_type=kind, computed=False)
        )
        full = full.refuting(fact(Digest(Hash.of(b"x%d" % number, "sha512")), tar, 1))
    assert len(full.encode()) < SMALL_OBJECT


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(Record(NAME, (FACT,)).encode()), **fields}).encode()


DESCRIPTOR = json.loads(Record(NAME, (FACT,)).encode())["facts"][0]


@pytest.mark.parametrize("length", range(0, len(Record(NAME, (FACT,)).encode()), 7))
def test_a_torn_record_says_nothing(length: int) -> None:
    with pytest.raises(FormatError):
        Record.decode(Record(NAME, (FACT,)).encode()[:length], NAME)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        bytes(500),
        b"[" * 100_000,
        changed(name=str(FACT.diff_id)),
        changed(name=None),
        changed(facts={}),
        changed(facts=[1]),
        changed(facts=[{**DESCRIPTOR, "digest": str(FACT.diff_id)}]),
        changed(facts=[{**DESCRIPTOR, "annotations": {}}]),
        changed(
            facts=[
                {**DESCRIPTOR, "annotations": {**DESCRIPTOR["annotations"], "dev.layercache.known": "sure"}}
            ]
        ),
        changed(refuted=[{"digest": str(NAME)}]),
        changed(refuted=[{"digest": str(NAME), "diffId": "md5:1"}]),
    ],
)
def test_what_is_foreign_or_hostile_says_nothing(data: bytes) -> None:
    with pytest.raises(FormatError):
        Record.decode(data, NAME)


@given(st.binary())
def test_any_bytes_are_judged_with_a_format_error_at_most(data: bytes) -> None:
    with pytest.raises(FormatError):
        Record.decode(data, NAME)


def test_fields_of_later_versions_are_passed_over() -> None:
    assert Record.decode(changed(index={"digest": "x"}), NAME) == Record(NAME, (FACT,))
