"""Copying cache to cache: what is missing comes, verified; what is wrong, or fails, does no harm."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import again, flipped, put, read, sample
from fixtures.stores import (
    Store,
    assert_sound,
    blobs,
    content,
    evict,
    fact,
    far,
    near,
    open_cache,
    refuses_writes,
    write_blob,
)
from servers.images import Image

from layercache.copy import Copied, Copy, Selection
from layercache.copy.report import FAILURES_IN_A_ROW
from layercache.errors import BackendError, ConfigError, LayercacheError, NotFoundError
from layercache.oci.digest import DiffID, Digest
from layercache.oci.reference import Reference
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.value import replace
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.layers import Layer
    from servers.images import Sample

EVERYTHING = Selection()


def copy(
    source: BackendTier, target: BackendTier, wanted: Selection = EVERYTHING, *, dry_run: bool = False
) -> Copied:
    return Copy(source, target, wanted, jobs=4, dry_run=dry_run).run()


def named(name: str) -> MemoryBackend:
    """A store in memory whose name tells it from others, as that of any store but this does."""
    backend = MemoryBackend()
    backend.url = f"memory://{name}"
    return backend


def filled(*layers: Layer, keep: str = "both") -> BackendTier:
    """A trusted tier that holds these layers in both forms."""
    tier = near(named("filled"))
    with open_cache(tier) as cache:
        for layer in layers:
            put(cache, layer.blob)
    return tier


def empty(keep: str = "both") -> BackendTier:
    return near(named("empty"), keep)  # type: ignore[arg-type]  # the tests' parameters are plain strings


GZIP, ZSTD, PLAIN = sample(1, "gzip"), sample(2, "zstd"), sample(3, "none")


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


def test_a_dry_run_tells_the_same_and_writes_nothing() -> None:
    source, target = filled(GZIP, ZSTD), empty()
    told = copy(source, target, dry_run=True)
    assert content(target) == {}
    done = copy(source, target)
    assert (told.copied, told.copied_bytes, told.records) == (done.copied, done.copied_bytes, done.records)


def test_a_store_is_not_copied_into_itself() -> None:
    with pytest.raises(ConfigError, match="itself"):
        Copy(filled(), filled(), EVERYTHING)


def test_a_target_that_is_read_only_is_refused() -> None:
    with pytest.raises(ConfigError, match="read-only"):
        Copy(filled(), near(named("x"), readonly=True), EVERYTHING)


def test_a_target_that_refuses_writes_ends_the_copy() -> None:
    target = Store(MemoryBackend(), url="full://", fails=refuses_writes)
    with pytest.raises(BackendError, match="full://"):
        copy(filled(GZIP, ZSTD), near(target))
    assert content(target.inner) == {}


def test_a_target_that_gets_full_keeps_whole_entries_and_takes_the_rest_later() -> None:
    source, room = filled(GZIP, ZSTD), threading.Semaphore(2)
    target = Store(
        MemoryBackend(), url="full://", fails=lambda action, _: action == "commit" and not room.acquire(False)
    )
    with pytest.raises(BackendError):
        copy(source, near(target))
    assert_sound(target.inner)
    target.fails = lambda _action, _key: False
    copy(source, near(target))
    assert content(target.inner) == content(source)


def test_what_is_bigger_than_the_target_may_get_in_all_is_passed_over_and_evicts_nothing() -> None:
    source = near(named("big"))
    put(open_cache(source), bytes(range(256)) * 20)
    target = BackendTier(named("limited"), Policy(trusted=True, max_size=5000))
    kept = Digest.of(b"it is there already")
    write_blob(target, kept, b"it is there already")
    report = copy(source, target)
    assert blobs(target) == {kept}
    assert (report.copied, report.wrong, report.unreadable) == (0, 0, 0)


def test_an_entry_that_cannot_be_read_is_passed_over() -> None:
    store = Store(filled(GZIP, ZSTD).backend)
    store.fails = lambda action, key: action == "read" and key == keys.blob(GZIP.digest)
    target = empty()
    report = copy(near(store), target)
    assert (report.unreadable, report.wrong) == (1, 0)
    assert ZSTD.digest in blobs(target)
    assert GZIP.digest not in blobs(target)


def test_a_source_that_gives_nothing_any_more_ends_the_copy() -> None:
    store = Store(filled(*(sample(each) for each in range(FAILURES_IN_A_ROW))).backend)
    store.fails = lambda action, _: action in ("open", "read")
    with pytest.raises(BackendError, match="store://"):
        copy(near(store), empty())


def test_a_blob_that_is_evicted_meanwhile_is_no_failure() -> None:
    store = Store(filled(GZIP, ZSTD).backend)

    def vanish(action: str, key: str) -> bool:
        if action == "open" and key == keys.blob(GZIP.digest):
            store.inner.delete(key)
        return False

    store.fails = vanish
    report = copy(near(store), empty())
    assert (report.copied, report.wrong, report.unreadable) == (3, 0, 0)


def test_two_copies_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    source = filled(*(sample(each) for each in range(20)))
    target = near(LocalBackend(str(tmp_path / "target"), sync=False))
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(copy, source, target) for _ in range(2)]:
            assert done.result().wrong == 0
    assert content(target) == content(source)


# Images


@pytest.fixture
def pulled(sample: Sample) -> BackendTier:
    """An image and an index of which both platforms were pulled, as a pull of the blobs leaves them."""
    tier = near(named("pulled"))
    for name, image in (("one", sample.image), ("two", sample.index)):
        documents = {digest: data for digest, (_, data) in image.documents.items()}
        for digest, data in {**image.blobs, **documents}.items():
            write_blob(tier, digest, data)
        tier.images.tag(tag(name), image.descriptor)
        for each in (image,) if isinstance(image, Image) else image.images:
            for layer in each.layers:
                tier.facts.record(fact(layer.digest, layer.diff_id, len(layer.blob), computed=False))
    return tier


def tag(name: str) -> str:
    return keys.image_tag("example.org", name, "latest")


ONE = Reference.parse("example.org/one:latest")


def test_images_are_there_offline_after_a_copy(pulled: BackendTier) -> None:
    target = empty()
    assert copy(pulled, target).images == 2
    assert content(target) == content(pulled)
    assert copy(pulled, target).images == 0


def test_an_image_brings_what_it_needs_and_nothing_else(pulled: BackendTier, sample: Sample) -> None:
    target = empty()
    report = copy(pulled, target, Selection(images=(ONE,)))
    needed = {sample.image.descriptor.digest, *sample.image.blobs}
    assert blobs(target) == needed
    assert (report.images, report.records, report.missing) == (1, 3, 0)
    with open_cache(target, offline=True) as cache:
        image = cache.image(str(ONE))
        assert [read(layer.compressed()) for layer in image.layers] == [
            layer.blob for layer in sample.image.layers
        ]


def test_what_an_image_needs_and_the_source_has_not_is_counted(pulled: BackendTier, sample: Sample) -> None:
    evict(pulled, sample.image.layers[0].digest)
    assert copy(pulled, empty(), Selection(images=(ONE,))).missing == 1


def test_an_image_that_is_not_there_is_told_before_anything_is_copied(pulled: BackendTier) -> None:
    target = empty()
    with pytest.raises(NotFoundError, match="three"):
        copy(pulled, target, Selection(images=(ONE, Reference.parse("example.org/three:1"))))
    assert content(target) == {}


def test_an_image_whose_manifest_is_wrong_is_not_named(pulled: BackendTier, sample: Sample) -> None:
    write_blob(pulled, sample.image.descriptor.digest, b"{}")
    target = empty()
    report = copy(pulled, target)
    assert report.wrong >= 1
    assert [key for key, _ in target.images.scan()] == [tag("two")]


def test_a_tag_that_the_target_learnt_later_stays(pulled: BackendTier, sample: Sample) -> None:
    target, key = empty(), tag("one")
    target.images.tag(key, sample.index.descriptor)
    copy(pulled, target)
    assert target.images.get(key).digest == sample.index.descriptor.digest
    pulled.images.tag(key, sample.image.descriptor)
    copy(pulled, target)
    assert target.images.get(key).digest == sample.image.descriptor.digest


def test_what_was_published_before_is_left_out_but_for_the_documents_of_newer_images(
    pulled: BackendTier, sample: Sample
) -> None:
    backend = pulled.backend
    assert isinstance(backend, MemoryBackend)
    for key, (data, _) in list(backend._objects.items()):
        backend._objects[key] = (data, 1000.0)
    key = tag("one")
    backend._objects[key] = (backend._objects[key][0], 3000.0)
    put(open_cache(pulled), GZIP.blob)
    target = empty()
    copy(pulled, target, Selection(since=2000.0))
    documents = {sample.image.descriptor.digest, sample.image.config_digest}
    assert blobs(target) == {GZIP.digest, GZIP.diff_id, *documents}
    assert [each for each, _ in target.images.scan()] == [key]
    assert {each.digest for each in target.facts.scan()} == {GZIP.digest}


def test_a_torn_fact_is_no_fact() -> None:
    source, target = filled(GZIP), empty()
    key = keys.record(GZIP.diff_id)
    with source.backend.create(key) as sink:
        sink.write(b"{")
        sink.commit()
    report = copy(source, target)
    assert (report.copied, report.records, report.wrong) == (2, 1, 0), "it stands under the digest, too"


def test_names_of_sha512_are_copied_too() -> None:
    source, target = filled(), empty()
    digest, diff_id = Digest.of(GZIP.blob, "sha512"), DiffID.of(GZIP.tar, "sha512")
    write_blob(source, digest, GZIP.blob)
    source.facts.record(replace(fact(digest, diff_id, len(GZIP.blob)), uncompressed_size=len(GZIP.tar)))
    report = copy(source, target, Selection(form="both"))
    assert blobs(target) == {digest, diff_id}
    assert report.made == 1
