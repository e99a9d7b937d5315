"""A copy verifies: a wrong blob does not come, and what a source says stays a claim until it is computed."""

from __future__ import annotations

import pytest
from fixtures.copied import GZIP, ZSTD, copy, empty, filled, named
from fixtures.layers import again, flipped, put, read
from fixtures.stores import assert_sound, blobs, evict, fact, far, near, open_cache, write_blob

from layercache.copy import Selection
from layercache.errors import LayercacheError
from layercache.tiers import keys


def test_a_wrong_blob_is_reported_and_passed_over() -> None:
    source, target = filled(GZIP, ZSTD), empty()
    write_blob(source, GZIP.digest, flipped(GZIP.blob))
    report = copy(source, target)
    assert report.wrong == 1
    assert [failure.name for failure in report.failures] == [GZIP.digest]
    assert GZIP.digest not in blobs(target)
    assert {ZSTD.digest, ZSTD.diff_id, GZIP.diff_id} == blobs(target)
    assert_sound(target)


def test_a_cut_blob_is_wrong() -> None:
    source, target = filled(GZIP), empty()
    write_blob(source, GZIP.digest, GZIP.blob[:-1])
    assert copy(source, target).wrong == 1
    assert GZIP.digest not in blobs(target)


def test_what_a_far_source_computed_is_a_claim() -> None:
    source, target = far(filled(GZIP).backend), empty()
    copy(source, target)
    assert [each.computed for each in target.facts.scan()] == [False]
    assert copy(source, target).records == 0


def test_a_far_source_that_is_trusted_is_believed() -> None:
    target = empty()
    copy(near(filled(GZIP).backend), target)
    assert [each.computed for each in target.facts.scan()] == [True]


def test_what_is_inflated_on_the_way_is_computed() -> None:
    source, target = far(filled(GZIP).backend), empty()
    evict(source, GZIP.diff_id)
    copy(source, target, Selection(form="both"))
    (found,) = target.facts.scan()
    assert (found.computed, found.diff_id) == (True, GZIP.diff_id)
    assert (found.size, found.uncompressed_size) == (len(GZIP.blob), len(GZIP.tar))


def test_a_pair_of_sound_blobs_that_are_not_each_other_is_not_believed() -> None:
    source, target = far(named("liar")), empty()
    write_blob(source, GZIP.digest, GZIP.blob)
    write_blob(source, ZSTD.diff_id, ZSTD.tar)
    source.facts.record(fact(GZIP.digest, ZSTD.diff_id, len(GZIP.blob)))
    copy(source, target, Selection(form="both"))
    assert ZSTD.diff_id in blobs(target)
    assert [each.computed for each in target.facts.scan()] == [False]


@pytest.mark.parametrize("form", [None, "compressed", "both"])
def test_a_blob_that_was_planted_under_a_diff_id_is_not_given_after_a_copy(form: str | None) -> None:
    source, target = far(named("liar")), empty()
    write_blob(source, ZSTD.digest, ZSTD.blob)
    source.facts.record(fact(ZSTD.digest, GZIP.diff_id, len(ZSTD.blob)))
    copy(source, target, Selection(form=form))  # type: ignore[arg-type]  # the tests' parameters are plain strings
    with open_cache(target) as cache, pytest.raises(LayercacheError):
        read(cache.get(GZIP.diff_id).compressed())


def test_a_false_claim_is_refuted_where_the_tar_is_made() -> None:
    source, target = far(named("liar")), empty()
    write_blob(source, GZIP.digest, GZIP.blob)
    source.facts.record(fact(GZIP.digest, ZSTD.diff_id, len(GZIP.blob)))
    report = copy(source, target, Selection(form="both"))
    assert report.wrong == 1
    assert blobs(target) == {GZIP.digest}
    (found,) = target.facts.scan()
    assert (found.computed, found.diff_id) == (True, GZIP.diff_id)


def test_a_claim_does_not_stand_beside_what_the_target_computed() -> None:
    source, target = filled(), filled(GZIP)
    target.name = "other"
    source.facts.record(fact(GZIP.digest, ZSTD.diff_id, 5, computed=False))
    assert copy(source, target).records == 0


def test_several_blobs_of_one_tar_keep_their_facts() -> None:
    source, target = filled(GZIP), empty()
    put(open_cache(source), again(GZIP, 1))
    copy(source, target)
    assert len(target.facts.made_from(GZIP.diff_id)) == 2


def test_facts_are_copied_where_the_blob_was_evicted() -> None:
    source, target = filled(GZIP), empty()
    evict(source, GZIP.digest)
    evict(source, GZIP.diff_id)
    assert copy(source, target).records == 1
    assert [each.digest for each in target.facts.made_from(GZIP.diff_id)] == [GZIP.digest]


def test_a_torn_fact_is_no_fact() -> None:
    source, target = filled(GZIP), empty()
    key = keys.record(GZIP.diff_id)
    with source.backend.create(key) as sink:
        sink.write(b"{")
        sink.commit()
    report = copy(source, target)
    assert (report.copied, report.records, report.wrong) == (2, 1, 0), "it stands under the digest, too"
