"""Copying cache to cache: what is missing comes, in the forms that are wanted, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.copied import GZIP, PLAIN, ZSTD, copy, empty, filled
from fixtures.layers import put, sample
from fixtures.stores import Store, assert_sound, blobs, content, evict, fact, near, open_cache, write_blob

from layercache.copy import Selection
from layercache.oci.digest import DiffID, Digest
from layercache.tiers import keys
from layercache.value import replace
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path


def test_a_copy_of_everything_has_every_object() -> None:
    source, target = filled(GZIP, ZSTD, PLAIN), empty()
    put(open_cache(source), b"an opaque blob")
    report = copy(source, target)
    assert content(target) == content(source)
    assert (report.copied, report.records, report.present) == (len(blobs(source)), 3, 0)
    assert report.copied_bytes == sum(entry.size for _, entry in source.blobs.scan())


def test_a_second_copy_brings_only_what_is_new() -> None:
    source, target = filled(GZIP), empty()
    copy(source, target)
    put(open_cache(source), ZSTD.blob)
    report = copy(source, target)
    assert (report.copied, report.present, report.records) == (2, 2, 1)
    assert content(target) == content(source)


def test_what_the_target_has_is_neither_read_nor_written_again() -> None:
    source, target = filled(GZIP), empty()
    copy(source, target)
    watched, written = Store(source.backend), Store(target.backend, url="other://")
    copy(near(watched), near(written))
    assert watched.did("open", "stat", below=keys.BLOBS) == []
    assert watched.did("create") == []
    assert written.did("stat", "create") == []
    assert written.did("open") == [keys.record(GZIP.digest)], "whether it has this fact"


def test_a_damaged_entry_of_the_target_is_replaced() -> None:
    source, target = filled(GZIP), empty()
    copy(source, target)
    write_blob(target, GZIP.digest, GZIP.blob[:50])
    assert copy(source, target).copied == 1
    assert_sound(target)


def test_half_a_fact_is_made_whole() -> None:
    source, target = filled(GZIP), empty()
    copy(source, target)
    target.backend.delete(keys.record(GZIP.digest))
    assert copy(source, target).records == 1
    assert content(target) == content(source)


@pytest.mark.parametrize(
    ("keep", "there"),
    [
        ("compressed", {GZIP.digest, ZSTD.digest, PLAIN.digest}),
        ("uncompressed", {GZIP.diff_id, ZSTD.diff_id, PLAIN.diff_id}),
        ("both", {GZIP.digest, ZSTD.digest, PLAIN.digest, GZIP.diff_id, ZSTD.diff_id}),
    ],
)
def test_the_target_gets_the_forms_that_it_keeps_or_that_are_named(keep: str, there: set[str]) -> None:
    by_policy, by_option = empty(keep), empty()
    copy(filled(GZIP, ZSTD, PLAIN), by_policy)
    copy(filled(GZIP, ZSTD, PLAIN), by_option, Selection(form=keep))  # type: ignore[arg-type]
    assert blobs(by_policy) == blobs(by_option) == there
    for target in (by_policy, by_option):
        assert {each.diff_id for each in target.facts.scan()} == {
            GZIP.diff_id,
            ZSTD.diff_id,
            PLAIN.diff_id,
        }


def test_what_nobody_knows_the_role_of_goes_with_either_form() -> None:
    source = filled()
    put(open_cache(source), b"an opaque blob")
    for form in ("compressed", "uncompressed"):
        target = empty()
        assert copy(source, target, Selection(form=form)).copied == 1


@pytest.mark.parametrize("form", ["uncompressed", "both"])
def test_a_tar_that_is_asked_for_and_not_there_is_made(form: str) -> None:
    source, target = filled(GZIP, ZSTD), empty()
    evict(source, GZIP.diff_id)
    evict(source, ZSTD.diff_id)
    report = copy(source, target, Selection(form=form))  # type: ignore[arg-type]
    assert (report.made, report.wrong) == (2, 0)
    assert {GZIP.diff_id, ZSTD.diff_id} <= blobs(target)
    assert (GZIP.digest in blobs(target)) == (form == "both")
    assert_sound(target)


def test_a_tar_that_is_not_asked_for_is_not_made() -> None:
    source, target = filled(GZIP), empty()
    evict(source, GZIP.diff_id)
    assert copy(source, target).made == 0
    assert blobs(target) == {GZIP.digest}


def test_names_of_sha512_are_copied_too() -> None:
    source, target = filled(), empty()
    digest, diff_id = Digest.of(GZIP.blob, "sha512"), DiffID.of(GZIP.tar, "sha512")
    write_blob(source, digest, GZIP.blob)
    source.facts.record(replace(fact(digest, diff_id, len(GZIP.blob)), uncompressed_size=len(GZIP.tar)))
    report = copy(source, target, Selection(form="both"))
    assert blobs(target) == {digest, diff_id}
    assert report.made == 1


def test_a_dry_run_tells_the_same_and_writes_nothing() -> None:
    source, target = filled(GZIP, ZSTD), empty()
    told = copy(source, target, dry_run=True)
    assert content(target) == {}
    done = copy(source, target)
    assert (told.copied, told.copied_bytes, told.records) == (done.copied, done.copied_bytes, done.records)


def test_two_copies_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    source = filled(*(sample(each) for each in range(20)))
    target = near(LocalBackend(str(tmp_path / "target"), sync=False))
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(copy, source, target) for _ in range(2)]:
            assert done.result().wrong == 0
    assert content(target) == content(source)
