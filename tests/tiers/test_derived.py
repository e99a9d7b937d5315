"""Derived objects: kept beside their blob, counted by the limits, gone when the blob goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.stocked import HOUR, blobs, data_of, grow_old, in_memory, on_disk, stock
from fixtures.stores import Store, near, open_cache, store_of, write_blob

from layercache.copy import Copy, Selection
from layercache.errors import BackendError, NotFoundError
from layercache.events import Observers
from layercache.oci.digest import Hash
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.facts import FactStore
from layercache.tiers.policy import Policy
from layercache.tiers.stores import BlobStore, DerivedStore, ImageStore
from layercache.tiers.tolerant import TolerantTier
from layercache.upkeep import prune, put_aside, verify
from layercache.value import replace
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KIND = "tar-index-1"
DATA = data_of(77, 400)


@pytest.fixture(params=["disk", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., BackendTier]:
    return (lambda **limits: on_disk(tmp_path, **limits)) if request.param == "disk" else in_memory


def derived(tier: BackendTier) -> dict[Hash, int]:
    return {name: entry.size for kind, name, entry in tier.derived.scan() if kind == KIND}


def test_an_object_is_read_as_it_was_put_whole_or_a_range_of_it(make: Callable[..., BackendTier]) -> None:
    tier, name = make(), Hash.of(b"a blob")
    tier.derived.put(KIND, name, [DATA[:100], DATA[100:]])
    for start, end in ((0, None), (50, 150), (390, 500)):
        with tier.derived.open(KIND, name, start, end) as reader:
            assert reader.read() == DATA[start:end]
    assert derived(tier) == {name: len(DATA)}


def test_an_object_replaces_the_one_before_and_kinds_stand_side_by_side(
    make: Callable[..., BackendTier],
) -> None:
    tier, name = make(), Hash.of(b"a blob")
    for data in (b"old", b"newer"):
        tier.derived.put(KIND, name, [data])
    tier.derived.put("seek-points-2", name, [b"x"])
    assert {kind: entry.size for kind, _, entry in tier.derived.scan()} == {KIND: 5, "seek-points-2": 1}
    tier.derived.delete(name)
    tier.derived.delete(name)
    assert list(tier.derived.scan()) == []


def test_what_was_not_derived_is_not_found(make: Callable[..., BackendTier]) -> None:
    tier = make()
    with pytest.raises(NotFoundError):
        tier.derived.open(KIND, Hash.of(b"a blob"))


@pytest.mark.parametrize("kind", ["", "a/b", "..", "Upper", "9-first", "a" * 65])
def test_a_kind_is_lower_case_letters_digits_and_dashes(kind: str) -> None:
    with pytest.raises(ValueError, match="not a kind"):
        in_memory().derived.put(kind, Hash.of(b"a blob"), [b"x"])


def test_nothing_is_kept_where_the_tier_is_read_only(make: Callable[..., BackendTier]) -> None:
    tier = make(readonly=True)
    tier.derived.put(KIND, Hash.of(b"a blob"), [b"x"])
    assert list(tier.derived.scan()) == []


def test_half_an_object_is_never_there(make: Callable[..., BackendTier]) -> None:
    def broken() -> object:
        yield b"half"
        raise BackendError("gone")

    tier = make()
    with pytest.raises(BackendError):
        tier.derived.put(KIND, Hash.of(b"a blob"), broken())  # type: ignore[arg-type]
    assert list(tier.derived.scan()) == []


@pytest.mark.parametrize("remove", ["delete", "put_aside", "quarantine"])
def test_what_was_derived_goes_with_its_blob(make: Callable[..., BackendTier], remove: str) -> None:
    tier = make()
    gone, stays = stock(tier, 1), stock(tier, 2)
    for name in (gone, stays):
        tier.derived.put(KIND, name, [DATA])
    if remove == "quarantine":
        put_aside(tier, keys.blob(gone))
    else:
        getattr(tier.blobs, remove)(gone)
    assert blobs(tier) == {stays}
    assert set(derived(tier)) == {stays}


def test_a_layer_that_is_removed_by_name_takes_what_was_derived_along(tmp_path: Path) -> None:
    tier = on_disk(tmp_path)
    with open_cache(tier) as cache:
        name = stock(tier, 1)
        tier.derived.put(KIND, name, [DATA])
        cache.delete(str(name))
    assert list(tier.derived.scan()) == []


def test_derived_objects_count_towards_the_limit_and_are_evicted_with_their_blob(
    make: Callable[..., BackendTier],
) -> None:
    tier = make(max_size=1000)
    oldest, other = stock(tier, 1, 100, age=3 * HOUR), stock(tier, 2, 100, age=2 * HOUR)
    for name in (oldest, other):
        tier.derived.put(KIND, name, [DATA])
        grow_old(tier, name, 3 * HOUR if name == oldest else 2 * HOUR)
    tier.blobs.put(Hash.of(data_of(3, 100)), data_of(3, 100))
    assert blobs(tier) == {other, Hash.of(data_of(3, 100))}
    assert derived(tier) == {other: len(DATA)}


def test_room_is_made_for_a_derived_object_as_for_a_blob(make: Callable[..., BackendTier]) -> None:
    tier = make(max_size=1000)
    stock(tier, 1, 500, age=3 * HOUR)
    other = stock(tier, 2, 300, age=2 * HOUR)
    tier.derived.put(KIND, other, [DATA])
    assert blobs(tier) == {other}
    assert derived(tier) == {other: len(DATA)}


@pytest.mark.parametrize("remove", ["evict", "delete", "put_aside"])
def test_what_was_derived_goes_before_its_blob(remove: str) -> None:
    # So what breaks off in between leaves a blob without an index, and never an index without its blob.
    tier, name = near(Store(MemoryBackend())), Hash.of(DATA)
    tier.blobs.put(name, DATA)
    tier.derived.put(KIND, name, [DATA])
    if remove == "evict":
        prune(tier, max_size=0)
    else:
        getattr(tier.blobs, remove)(name)
    assert store_of(tier).did("delete") == [keys.derived(KIND, name), keys.blob(name)]


def test_an_object_that_fits_no_limit_is_not_kept_and_evicts_nothing(
    make: Callable[..., BackendTier],
) -> None:
    tier = make(max_size=1000)
    name = stock(tier, 1, 100)
    tier.derived.put(KIND, name, [DATA, DATA, DATA])
    assert blobs(tier) == {name}
    assert list(tier.derived.scan()) == []


def test_what_lost_its_blob_is_evicted_first_once_it_is_not_young(
    make: Callable[..., BackendTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = make()
    name = stock(tier, 1, 300, age=9 * HOUR)
    orphan = Hash.of(b"is not there")
    tier.derived.put(KIND, orphan, [DATA])
    assert prune(tier, max_size=500, dry_run=True).bytes == 300
    monkeypatch.setattr("layercache.tiers.eviction.YOUNG", 0.0)
    assert prune(tier, max_size=500, dry_run=True).bytes == len(DATA)
    report = prune(tier, max_size=500)
    assert (report.blobs, report.bytes, report.left) == (1, len(DATA), 300)
    assert blobs(tier) == {name}
    with pytest.raises(NotFoundError):
        tier.derived.open(KIND, orphan)


def test_pruning_with_forget_removes_what_lost_its_blob(make: Callable[..., BackendTier]) -> None:
    tier = make()
    name = stock(tier, 1)
    for each in (name, Hash.of(b"is not there")):
        tier.derived.put(KIND, each, [DATA])
    prune(tier, forget=True, dry_run=True)
    assert len(derived(tier)) == 2
    prune(tier, forget=True)
    assert set(derived(tier)) == {name}


def test_verify_and_copy_pass_derived_objects_by(make: Callable[..., BackendTier], tmp_path: Path) -> None:
    tier, target = make(), on_disk(tmp_path / "target")
    name = stock(tier, 1)
    tier.derived.put(KIND, name, [DATA])
    assert [each.key for each in verify(tier)] == [keys.blob(name)]
    Copy(tier, target, Selection()).run()
    assert list(target.derived.scan()) == []


def test_a_limited_tier_may_be_only_read(make: Callable[..., BackendTier]) -> None:
    tier = make()
    name = stock(tier, 1)
    tier.derived.put(KIND, name, [DATA])
    frozen = BackendTier(tier.backend, replace(Policy(), readonly=True))
    with frozen.derived.open(KIND, name) as reader:
        assert reader.read() == DATA


def test_a_tier_that_keeps_none_has_none() -> None:
    store = DerivedStore()
    store.put(KIND, Hash.of(b"a blob"), [DATA])
    store.delete(Hash.of(b"a blob"))
    assert list(store.scan()) == []
    with pytest.raises(NotFoundError):
        store.open(KIND, Hash.of(b"a blob"))


@pytest.mark.parametrize(
    ("attribute", "store"),
    [("blobs", BlobStore), ("facts", FactStore), ("images", ImageStore), ("derived", DerivedStore)],
)
def test_every_method_of_a_store_declares_what_a_failure_makes_of_it(attribute: str, store: type) -> None:
    tier = in_memory()
    own, offered = getattr(tier, attribute), getattr(TolerantTier(tier, Observers()), attribute)
    methods = {name for name in vars(store) if not name.startswith("_")}
    assert methods == {name for name in dir(own) if not name.startswith("_") and hasattr(offered, name)}


def test_what_cannot_be_derived_in_a_failing_tier_fails_nothing(tmp_path: Path) -> None:
    tier = on_disk(tmp_path)
    write_blob(tier, Hash.of(DATA), DATA)
    tolerant = TolerantTier(tier, Observers())
    tolerant.mark_failed(BackendError("it is down"))
    tolerant.derived.put(KIND, Hash.of(DATA), [DATA])
    with pytest.raises(NotFoundError, match="is skipped for now"):
        tolerant.derived.open(KIND, Hash.of(DATA))
    assert list(tier.derived.scan()) == []
