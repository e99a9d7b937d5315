"""Pruning by hand: what goes, what stays, what is told."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import put, sample
from fixtures.stocked import HOUR, blobs, data_of, in_memory, on_disk, stock, used
from fixtures.stores import content, evict, fact, open_cache, write

from layercache import ConfigError
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.upkeep import Pruned, Removed, prune
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Sample

DAY = 24 * HOUR


@pytest.fixture(params=["disk", "memory"])
def tier(request: pytest.FixtureRequest, tmp_path: Path) -> BackendTier:
    return on_disk(tmp_path) if request.param == "disk" else in_memory()


def pruned(tier: BackendTier, **options: object) -> tuple[Pruned, list[Removed]]:
    removed: list[Removed] = []
    report = prune(tier, watcher=removed.append, **options)  # type: ignore[arg-type]
    return report, removed


def test_the_least_recently_used_go_until_the_size_is_reached(tier: BackendTier) -> None:
    names = [stock(tier, seed, 100, age=HOUR * (9 - seed)) for seed in range(5)]
    report, removed = pruned(tier, max_size=250)
    assert [each.name for each in removed] == names[:3]
    assert {each.limit for each in removed} == {"size"}
    assert (report.blobs, report.bytes, report.left) == (3, 300, 200)
    assert blobs(tier) == set(names[3:])


def test_what_is_older_goes_and_nothing_else(tier: BackendTier) -> None:
    old, new = stock(tier, 1, age=31 * DAY), stock(tier, 2, age=29 * DAY)
    report, removed = pruned(tier, max_age=30 * DAY)
    assert [(each.name, each.size, each.limit) for each in removed] == [(old, 100, "age")]
    assert removed[0].last_used == pytest.approx(time.time() - 31 * DAY, abs=60)
    assert report.left == 100
    assert blobs(tier) == {new}


def test_a_dry_run_tells_the_same_and_removes_nothing(tier: BackendTier) -> None:
    for seed in range(5):
        stock(tier, seed, 100, age=DAY * (9 - seed))
    before = content(tier)
    dry = pruned(tier, max_size=250, max_age=8 * DAY + 60, dry_run=True)
    assert content(tier) == before
    assert pruned(tier, max_size=250, max_age=8 * DAY + 60) == dry
    assert [each.limit for each in dry[1]] == ["age", "size", "size"]


def test_the_tiers_own_limits_hold_where_none_are_given(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=150, max_age=10 * DAY)
    for seed in range(4):
        stock(tier, seed, 100, age=DAY * (11.5 - seed))
    report, removed = pruned(tier)
    assert [each.limit for each in removed] == ["age", "age", "size"]
    assert report.left == 100


def test_without_limits_no_blob_goes(tier: BackendTier) -> None:
    stock(tier, 1, age=1000 * DAY)
    report, removed = pruned(tier)
    assert (report.blobs, report.left, removed) == (0, 100, [])


def test_even_what_is_young_goes_when_it_is_asked_for(tier: BackendTier) -> None:
    stock(tier, 1, age=0)
    assert pruned(tier, max_size=0)[0].left == 0
    assert used(tier) == 0


def test_a_read_only_tier_is_not_pruned_but_may_be_asked_what_would_go(tier: BackendTier) -> None:
    stock(tier, 1)
    readonly = BackendTier(tier.backend, Policy(readonly=True))
    with pytest.raises(ConfigError, match="read-only"):
        prune(readonly, max_size=0)
    assert prune(readonly, max_size=0, dry_run=True).blobs == 1
    assert used(tier) == 100


def test_facts_and_images_stay_unless_they_are_to_be_forgotten(
    tier: BackendTier, sample_image: Callable[[], None]
) -> None:
    kept, gone = sample(1), sample(2)
    with open_cache(tier) as cache:
        put(cache, kept.blob)
        put(cache, gone.blob)
    sample_image()
    evict(tier, gone.digest)
    evict(tier, gone.diff_id)
    assert prune(tier).records == 0
    assert len(list(tier.facts.scan())) == 2
    dry = prune(tier, forget=True, dry_run=True)
    report = prune(tier, forget=True)
    assert (dry.records, dry.images) == (report.records, report.images) == (1, 1)
    assert [each.digest for each in tier.facts.scan()] == [kept.digest]
    assert [key for key, _ in tier.images.scan()] == ["images/host/whole/_tags/latest"]


def test_an_empty_object_where_a_record_was_goes_once_it_is_a_day_old(tmp_path: Path) -> None:
    """A bucket cannot delete on a condition, so what forgets the last fact leaves one."""
    backend = LocalBackend(str(tmp_path))
    tier = BackendTier(backend, Policy(trusted=True))
    with open_cache(tier) as cache:
        put(cache, sample(1).blob)
        before = content(tier).keys()
        old, young = (keys.record(Hash.of(name)) for name in (b"old", b"young"))
        for key in (old, young):
            write(tier, key, b"")
        os.utime(tmp_path / old, (0, 0))
        prune(tier, forget=True)
        assert content(tier).keys() - before == {young}


@pytest.fixture
def sample_image(tier: BackendTier, sample: Sample) -> Callable[[], None]:
    """Two images: one whose documents are there, one whose manifest is gone."""

    def make() -> None:
        with open_cache(tier) as cache:
            whole = cache.image(f"oci:{sample.layout}:image").descriptor
            cache.forget_image("localhost/imported:image")
        tier.images.tag("images/host/whole/_tags/latest", whole)
        absent = fact(Digest(Hash.of(b"a")), DiffID(Hash.of(b"b")), 1)
        tier.images.tag(
            "images/host/hollow/_tags/latest",
            type(whole)(digest=absent.digest, size=1, media_type=whole.media_type),
        )

    return make


def test_leftovers_of_killed_writes_go_when_they_are_a_day_old(tmp_path: Path) -> None:
    tier = on_disk(tmp_path)
    stock(tier, 1)
    (tmp_path / "locks").mkdir(exist_ok=True)
    times = {"tmp/1-old": 2 * DAY, "tmp/2-new": HOUR, "locks/old": 2 * DAY, "locks/new": HOUR}
    for name, age in times.items():
        (tmp_path / name).write_bytes(b"part")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert prune(tier, dry_run=True).leftovers == 0
    assert prune(tier).leftovers == 2
    assert sorted(os.listdir(tmp_path / "tmp")) == ["2-new"]
    assert sorted(os.listdir(tmp_path / "locks")) == ["new", "usage"]


def test_what_is_put_in_after_a_prune_finds_the_right_count(tmp_path: Path) -> None:
    tier = on_disk(tmp_path, max_size=1000)
    for seed in range(5):
        data = data_of(seed, 200)
        tier.blobs.put(Hash.of(data), data)
    prune(tier, max_size=400)
    assert (tmp_path / "locks" / "usage").read_text().startswith(f"{used(tier)} ")


def test_what_lies_among_the_blobs_and_has_no_hash_for_a_name_stays_and_is_not_counted(
    tier: BackendTier,
) -> None:
    for key in ("blobs/thesis.tex", "blobs/sha256/photos.zip", f"blobs/sha256/{'a' * 64}/photo"):
        with tier.backend.create(key) as sink:
            sink.write(b"x")
            sink.commit()
    before = content(tier)
    report, removed = pruned(tier, max_size=0, max_age=0.0)
    assert (removed, report.left) == ([], 0)
    assert content(tier) == before


def test_leases_that_nobody_renews_go_as_leftovers(tmp_path: Path) -> None:
    tier = on_disk(tmp_path)
    stock(tier, 1)
    ages = {Digest.of(b"old"): 2 * DAY, Digest.of(b"new"): HOUR, Digest.of(b"tomorrow"): -DAY}
    for name, age in ages.items():
        write(tier, keys.lease(name), b"{}")
        os.utime(tmp_path / keys.lease(name), (time.time() - age,) * 2)
    assert prune(tier, dry_run=True).leftovers == 0
    assert (prune(tier).leftovers, prune(tier).leftovers) == (1, 0)
    assert prune(tier, leftovers_older_than=HOUR / 2).leftovers == 1
    left = [key for key in content(tier) if key.startswith(keys.LEASES)]
    assert left == [keys.lease(Digest.of(b"tomorrow"))]
