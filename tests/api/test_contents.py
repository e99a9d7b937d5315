"""What a program does with all that a cache holds: pull, list, count, copy, verify, prune, clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise
from servers.lying import status

import layercache
from layercache import Digest, InvalidNameError, NotFoundError, Platform, SourceError
from layercache.pull import read_list, read_lock, write_lock

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import LyingRegistry

    from layercache import Cache

LAYERS = [make_layer({f"file{number}": noise(3000, number)}) for number in range(3)]


@pytest.fixture
def names(lying: LyingRegistry) -> list[str]:
    """Two images that share a layer."""
    return [lying.add_image("one", make_image(LAYERS[:2])), lying.add_image("two", make_image(LAYERS[1:]))]


def test_images_are_pulled_with_one_plan_and_each_layer_once(
    cache: Cache, names: list[str], lying: LyingRegistry
) -> None:
    kinds = []
    with cache.watch(lambda event: kinds.append(event.kind)):
        pulled = cache.pull(names, platform="linux/amd64", form="both")
    assert [image.name for image in pulled.images] == names
    assert {outcome.result for outcome in pulled.outcomes.values()} == {"fetched"}
    assert set(pulled.outcomes) == {layer.digest for layer in LAYERS}
    assert pulled.plan is not None
    assert (pulled.plan.total.layers, pulled.plan.distinct.layers) == (4, 3)
    assert kinds.count("fetched") == kinds.count("inflated") == 3
    blobs = [request.path for request in lying.requests if "/blobs/" in request.path]
    assert len(blobs) == 3 + 2, "layers, and a config each"
    again = cache.pull(names, platform="linux/amd64")
    assert {outcome.result for outcome in again.outcomes.values()} == {"hit"}


def test_a_plan_alone_fetches_no_layer(cache: Cache, names: list[str]) -> None:
    pulled = cache.pull(names[0], platform="linux/amd64", dry_run=True)
    assert pulled.plan is not None
    assert pulled.plan.missing.layers == 2
    assert not pulled.outcomes
    assert LAYERS[0].digest not in cache


def test_what_fails_does_not_stop_the_rest_and_is_raised_at_the_end(cache: Cache, names: list[str]) -> None:
    missing = names[0].replace(":one", ":absent")
    with pytest.raises(NotFoundError, match="absent"):
        cache.pull([missing, *names], platform="linux/amd64")
    assert all(layer.digest in cache for layer in LAYERS)
    errors: list[Exception] = []
    pulled = cache.pull([missing, *names], platform="linux/amd64", failed=errors.append)
    assert [type(error) for error in errors] == [NotFoundError]
    assert list(pulled.failed) == [missing]


def test_a_layer_that_fails_is_an_outcome_and_leaves_the_cache_open(
    cache: Cache, names: list[str], lying: LyingRegistry
) -> None:
    lying.on(f"/blobs/{LAYERS[0].digest}", *[status(404)] * 9)
    errors: list[Exception] = []
    pulled = cache.pull(names[0], platform="linux/amd64", failed=errors.append)
    assert len(errors) == 1
    assert isinstance(errors[0], NotFoundError | SourceError)
    assert pulled.failed == {names[0]: "1 of 2 layers failed"}
    assert pulled.outcomes[LAYERS[1].digest].result == "fetched"
    assert not cache.closed


def test_what_is_cached_is_listed_and_counted(cache: Cache, names: list[str], tmp_path: Path) -> None:
    cache.pull(names, platform="linux/amd64", form="both")
    images = list(cache.images())
    assert [image.name for image in images] == sorted(names)
    assert images[0].platforms == (Platform(os="linux", architecture="amd64"),)
    assert {layer.digest: layer.forms for layer in cache.layers()} == {
        layer.digest: "both" for layer in LAYERS
    }
    of_one = list(cache.layers(image=names[0]))
    assert [layer.diff_id for layer in of_one] == [layer.diff_id for layer in LAYERS[:2]]
    (stats,) = cache.stats()
    assert (stats.layers, stats.both_forms, stats.images) == (3, 3, 2)
    assert stats.tier == of_one[0].tier == images[0].tier == cache.tiers[0].name
    with layercache.open([tmp_path / "cache", tmp_path / "far"]) as both:
        assert len(list(both.layers(all_tiers=True))) == 3
        assert len(list(both.stats())) == 2
    with pytest.raises(NotFoundError, match="absent"):
        cache.layers(image="registry.example/absent:1")


def test_a_cache_is_copied_to_a_folder_and_to_another_cache(
    cache: Cache, names: list[str], tmp_path: Path
) -> None:
    cache.pull(names, platform="linux/amd64")
    one = cache.copy_to(tmp_path / "one", images=[names[0]])
    assert one.images == 1
    with layercache.open(f"file://{tmp_path}/all") as other:
        assert cache.copy_to(other).images == 2
        again = cache.copy_to(other, dry_run=True)
        assert (again.copied, again.images) == (0, 0)
        assert {image.name for image in other.images()} == set(names)
    with layercache.open(tmp_path / "one", offline=True) as copied:
        assert [image.name for image in copied.images()] == names[:1]
    with pytest.raises(layercache.ClosedError):
        cache.copy_to(other)
    with pytest.raises(TypeError, match="expected a URL, a path or a Cache, found int: 5"):
        cache.copy_to(5)  # type: ignore[arg-type]


def test_what_is_wrong_is_found_and_quarantined(cache: Cache, names: list[str]) -> None:
    cache.pull(names, platform="linux/amd64")
    assert [checked.problem for checked in cache.verify(deep=True) if checked.problem] == []
    path = cache.get(LAYERS[0].digest).path("compressed")
    assert path is not None
    with open(path, "r+b") as file:
        file.write(b"wrong")
    (wrong,) = [checked for checked in cache.verify() if checked.problem and checked.kind == "blob"]
    assert wrong.quarantined
    assert LAYERS[0].digest not in cache


def test_images_of_a_lock_file_are_verified(cache: Cache, names: list[str], tmp_path: Path) -> None:
    pulled = cache.pull(names, platform="linux/amd64")
    lock = tmp_path / "images.lock"
    assert write_lock(lock, pulled.references)
    locked = list(map(str, read_lock(lock)))
    assert {name.partition("@")[0] for name in locked} == set(names)
    assert not any(checked.problem for checked in cache.verify(locked, platform="linux/amd64"))
    cache.delete(LAYERS[2].digest, force=True)
    found = [checked for checked in cache.verify(locked, platform="linux/amd64") if checked.problem]
    assert [(checked.missing, checked.key) for checked in found] == [(True, locked[1])]
    with pytest.raises(InvalidNameError, match="has no digest"):
        cache.verify(names)
    (tmp_path / "list").write_text(f"{names[0]}  # first\n")
    assert read_list(tmp_path / "list") == names[:1]


def test_a_cache_is_pruned_and_cleaned(cache: Cache, names: list[str]) -> None:
    cache.pull(names, platform="linux/amd64")
    gone: list[layercache.Removed] = []
    (trial,) = cache.prune(max_size=0, dry_run=True, watcher=gone.append)
    assert trial.blobs == len(gone) > 0
    assert LAYERS[0].digest in cache
    (pruned,) = cache.prune(max_size=len(LAYERS[0].blob) * 2)
    assert pruned.left <= len(LAYERS[0].blob) * 2
    assert cache.clean(dry_run=True)[0].objects > 0
    assert cache.clean()[0].images == 2
    assert not any(cache.images())
    assert cache.upgrade(dry_run=True)[0].associations == 0


def test_a_digest_that_is_not_one_is_still_a_name_error(cache: Cache) -> None:
    with pytest.raises(InvalidNameError):
        cache.get("alpine")
    assert Digest.of(b"") not in cache
