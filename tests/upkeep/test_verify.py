"""Verifying finds what is wrong, puts it aside, and leaves the good alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, flipped, put, read, sample
from fixtures.stocked import in_memory, on_disk, stock
from fixtures.stores import Store, content, fact, far, open_cache, write, write_blob

from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.layout.index_writer import write_index
from layercache.tiers.policy import Policy
from layercache.tiers.record import Record
from layercache.upkeep import Checked, Sample, verify
from layercache.value import replace

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Layer
    from servers.images import Sample as Images

    from layercache.tiers.association import Association


@pytest.fixture(params=["disk", "memory"])
def tier(request: pytest.FixtureRequest, tmp_path: Path, sample: Images) -> BackendTier:
    """Three layers in both forms, and an image."""
    tier = on_disk(tmp_path) if request.param == "disk" else in_memory()
    with open_cache(BackendTier(tier.backend, Policy(trusted=True))) as cache:
        for layer in LAYERS:
            put(cache, layer.blob)
        image = cache.image(f"oci:{sample.layout}:image")
    tier.images.tag(IMAGE, image.descriptor)
    return tier


LAYERS = [sample(seed, compression) for seed, compression in enumerate(COMPRESSIONS)]
GZIP, ZSTD, PLAIN = LAYERS
IMAGE = "images/host/name/_tags/latest"


def wrong(tier: BackendTier, *, deep: bool = False) -> dict[str, str]:
    """What was put aside, and why; all of it is in the quarantine, and nothing else went.

    Of a record that says more than what is wrong the rest stays.
    """
    before = content(tier)
    found = [each for each in verify(tier, deep=deep) if each.problem]
    problems = {each.key: each.problem for each in found}
    assert all(each.quarantined for each in found)
    after = {key: data for key, data in content(tier).items() if key not in problems}
    assert after == {keys.quarantine(key) if key in problems else key: data for key, data in before.items()}
    return problems


def facts_and_blobs(tier: BackendTier) -> dict[str, bytes]:
    """All but the view that other tools read, which is derived."""
    view = (keys.OCI_LAYOUT, keys.INDEX)
    return {key: data for key, data in content(tier).items() if key not in view}


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_right_is_left_alone(tier: BackendTier, deep: bool) -> None:
    before = facts_and_blobs(tier)
    checked = list(verify(tier, deep=deep))
    assert [each for each in checked if each.problem] == []
    assert {each.key for each in checked} == set(before)
    assert facts_and_blobs(tier) == before
    assert sum(each.size for each in checked) == sum(map(len, before.values()))


@pytest.mark.parametrize("damaged", [flipped(GZIP.blob), GZIP.blob[:-1], GZIP.blob + b"\0", b"", ZSTD.blob])
def test_a_blob_that_is_not_what_its_name_says_is_put_aside(tier: BackendTier, damaged: bytes) -> None:
    write_blob(tier, GZIP.digest, damaged)
    problems = wrong(tier)
    assert list(problems) == [keys.blob(GZIP.digest)]
    assert f"{len(damaged)} bytes that hash to {Hash.of(damaged)}" in problems[keys.blob(GZIP.digest)]
    assert wrong(tier) == {}


def test_a_damaged_tar_is_put_aside_and_made_again(tier: BackendTier) -> None:
    write_blob(tier, GZIP.diff_id, flipped(GZIP.tar))
    assert list(wrong(tier)) == [keys.blob(GZIP.diff_id)]
    with open_cache(BackendTier(tier.backend, Policy(trusted=True))) as cache:
        assert read(cache.get(GZIP.diff_id).uncompressed()) == GZIP.tar


def test_what_lies_among_the_blobs_and_has_no_hash_for_a_name_is_not_judged(tier: BackendTier) -> None:
    for key in ("blobs/sha256/abc", "blobs/thesis.tex", f"blobs/sha256/{'a' * 64}/photo"):
        write(tier, key, b"x")
    assert wrong(tier) == {}


def test_a_blob_of_sha512_is_hashed_so(tier: BackendTier) -> None:
    name = Hash.of(b"data", "sha512")
    write_blob(tier, name, b"data")
    assert wrong(tier) == {}
    write_blob(tier, name, b"other")
    assert list(wrong(tier)) == [keys.blob(name)]


# Facts


@pytest.mark.parametrize("deep", [False, True])
def test_a_claim_of_what_is_not_a_layer_as_older_versions_wrote_is_no_damage(
    tier: BackendTier, deep: bool
) -> None:
    statement = b'{"_type": "https://in-toto.io/Statement/v0.1"}'
    digest = Digest.of(statement)
    write_blob(tier, digest, statement)
    claim = fact(digest, DiffID(digest), len(statement), media_type="application/vnd.in-toto+json")
    tier.facts.record(replace(claim, computed=False))
    for _ in range(2):
        assert wrong(tier, deep=deep) == {}
    assert tier.facts.inflates_to(digest, claims=True) == [], "nobody believes it"
    write_index(tier)
    assert digest not in content(tier)[keys.INDEX].decode(), "nor is it listed"


def write_fact(tier: BackendTier, false: Association) -> tuple[str, str]:
    tier.facts.record(false)
    return keys.record(false.diff_id), keys.record(false.digest)


def false_fact(
    layer: Layer, diff_id: DiffID | None = None, *, size: int | None = None, tar_size: int | None = None
) -> Association:
    """A fact about a layer that is true but for what is given."""
    return fact(
        Digest(layer.digest),
        diff_id or DiffID(layer.diff_id),
        len(layer.blob) if size is None else size,
        tar_size=len(layer.tar) if tar_size is None else tar_size,
    )


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"name": "sha256:0"}'])
def test_a_torn_record_is_put_aside(tier: BackendTier, data: bytes) -> None:
    key = keys.record(GZIP.digest)
    write(tier, key, data)
    assert list(wrong(tier)) == [key]


def test_a_record_under_anothers_name_is_put_aside(tier: BackendTier) -> None:
    key = keys.record(Hash.of(b"another"))
    write(tier, key, Record(Hash(GZIP.digest), (false_fact(GZIP),)).encode())
    assert f"stands under {Hash.of(b'another')}" in wrong(tier)[key]


def test_what_a_store_leaves_of_a_forgotten_record_is_no_damage(tier: BackendTier) -> None:
    write(tier, keys.record(Hash.of(b"another")), b"")
    assert wrong(tier) == {}


def test_a_computed_fact_that_another_contradicts_is_settled_by_the_blob(tier: BackendTier) -> None:
    both = write_fact(tier, false_fact(GZIP, DiffID(ZSTD.diff_id)))
    problems = wrong(tier)
    assert set(problems) == set(both)
    assert GZIP.diff_id in problems[both[0]]
    # What else the two records say is left, and leads on.
    assert [each.digest for each in tier.facts.made_from(DiffID(ZSTD.diff_id))] == [ZSTD.digest]
    assert [each.digest for each in tier.facts.made_from(DiffID(GZIP.diff_id))] == [GZIP.digest]


@pytest.mark.parametrize(("size", "tar_size"), [(5, None), (None, 5)])
def test_a_computed_fact_of_a_wrong_size_is_put_aside(
    tier: BackendTier, size: int | None, tar_size: int | None
) -> None:
    both = write_fact(tier, false_fact(GZIP, size=size, tar_size=tar_size))
    assert set(wrong(tier)) == set(both)


def test_that_a_gzip_is_its_own_tar_is_seen_without_inflating_it(tier: BackendTier) -> None:
    lonely = sample(9)
    write_blob(tier, lonely.digest, lonely.blob)
    both = write_fact(tier, false_fact(lonely, DiffID(lonely.digest), tar_size=len(lonely.blob)))
    assert set(wrong(tier)) == set(both)


def test_a_false_fact_that_nothing_contradicts_is_found_deep(tier: BackendTier) -> None:
    lonely = sample(9)
    write_blob(tier, lonely.digest, lonely.blob)
    both = write_fact(tier, false_fact(lonely, DiffID(Hash.of(b"no such tar"))))
    assert wrong(tier) == {}
    assert set(wrong(tier, deep=True)) == set(both)


def test_a_fact_about_a_damaged_blob_is_right(tier: BackendTier) -> None:
    write_blob(tier, GZIP.digest, GZIP.blob[:-20])
    before = content(tier)
    readonly = BackendTier(tier.backend, Policy(readonly=True))
    found = [each for each in verify(readonly, deep=True) if each.problem]
    assert [(each.key, each.quarantined) for each in found] == [(keys.blob(GZIP.digest), False)]
    assert content(tier) == before, "a read-only tier is left as it is"


def test_a_false_claim_is_an_images_fault_and_not_the_stores(tier: BackendTier) -> None:
    tier.facts.record(fact(Digest(GZIP.digest), DiffID(ZSTD.diff_id), 5, computed=False))
    assert wrong(tier, deep=True) == {}


# Images


def test_an_image_whose_descriptor_or_manifest_cannot_be_read_is_put_aside(tier: BackendTier) -> None:
    write(tier, "images/host/torn/_tags/latest", b"{")
    name = stock(tier, 5, 30)
    descriptor = tier.images.get(IMAGE)
    lying = type(descriptor)(digest=Digest(name), size=30, media_type=descriptor.media_type)
    tier.images.tag("images/host/noise/_tags/latest", lying)
    tier.images.tag("images/host/size/_tags/latest", type(descriptor)(digest=descriptor.digest, size=1))
    problems = wrong(tier)
    assert set(problems) == {f"images/host/{name}/_tags/latest" for name in ("torn", "noise", "size")}


def test_an_image_whose_documents_are_gone_is_no_fault(tier: BackendTier) -> None:
    tier.blobs.delete(tier.images.get(IMAGE).digest)
    assert wrong(tier) == {}


# The going through


def test_a_sample_looks_at_some() -> None:
    tier = in_memory()
    for seed in range(200):
        stock(tier, seed, 10)
    assert len(list(verify(tier, sample=Sample(count=20)))) == 20
    assert len(list(verify(tier, sample=Sample(count=500)))) == 200
    assert len(list(verify(tier, sample=Sample(share=0.0)))) == 0
    some = {each.key for each in verify(tier, sample=Sample(share=0.5))}
    assert 40 < len(some) < 160


def test_a_store_that_fails_is_told_and_the_others_are_looked_at() -> None:
    store = Store(in_memory().backend)
    tier = BackendTier(store, Policy())
    names = [stock_in(store, seed) for seed in range(4)]
    store.fails = lambda action, key: action == "read" and key == keys.blob(names[1])
    found = list(verify(tier))
    assert len(found) == 4
    assert [(each.key, each.unreadable, each.quarantined) for each in found if each.problem] == [
        (keys.blob(names[1]), True, False)
    ]


def test_what_cannot_be_put_aside_is_told() -> None:
    store = Store(in_memory().backend)
    write_blob(store.inner, Hash.of(b"a"), b"b")
    store.fails = lambda action, _: action == "create"
    [found] = verify(BackendTier(store, Policy()))
    assert not found.quarantined
    assert "not quarantined" in found.problem
    assert list(content(store.inner)) == [keys.blob(Hash.of(b"a"))]


def test_what_goes_meanwhile_is_passed_over() -> None:
    tier = in_memory()
    names = [stock(tier, seed, 10) for seed in range(30)]
    checks = verify(tier, jobs=1)
    first = next(checks)
    for name in names:
        tier.blobs.delete(name)
    rest: list[Checked] = list(checks)
    assert len(rest) < 29
    assert all(not each.problem for each in [first, *rest])


def test_leaving_early_leaves_no_thread() -> None:
    tier = far()
    for seed in range(50):
        stock(tier, seed, 10)
    checks = verify(tier, jobs=2)
    next(checks)
    checks.close()  # type: ignore[attr-defined]  # it is a generator
    assert [each.name for each in threading.enumerate() if each.name.startswith("verify")] == []


def stock_in(store: Store, seed: int) -> Hash:
    data = bytes([seed]) * 10
    write_blob(store.inner, Hash.of(data), data)
    return Hash.of(data)
