"""Whatever is pulled: what we write of it ourselves is never found wrong, and comes out as it went in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from servers.lying import LyingRegistry
from servers.zoo import ANIMALS, Keeper

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


def blobs_of(layout: Path) -> dict[str, bytes]:
    """The blobs of a layout by name; each has the hash that it is called by."""
    found = {path.name: path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()}
    assert {name: Digest.of(data).hex for name, data in found.items()} == {name: name for name in found}
    return found


def verified(cache: Caller) -> None:
    """Nothing is wrong in it at a close look."""
    assert " 0 wrong" in cache("verify", "--deep").stderr


def presentable(cache: Caller) -> None:
    """Nor is it at a quick one, and all of it can be listed."""
    assert " 0 wrong" in cache("verify").stderr
    cache("index")
    cache("ls", "--all")
    cache("images")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["compressed", "uncompressed", "both"])
@pytest.mark.parametrize("animal", ANIMALS)
def test_nothing_is_wrong_with_what_was_pulled_copied_exported_and_adopted(
    animal: str, form: str, registry: LyingRegistry, tmp_path: Path
) -> None:
    keeper = Keeper(registry)
    root = ANIMALS[animal](keeper)
    name = keeper.named(root)
    cache = Caller(f"file://{tmp_path}/cache")
    pulled = cache.json("pull", name, "--platform", "all", "--form", form)
    verified(cache)
    presentable(cache)
    layers = [layer for image in pulled["images"] for layer in image["layers"]]
    for layer in layers:
        for known in filter(None, (layer["digest"] if form != "uncompressed" else None, layer["diff_id"])):
            assert Digest.of(cache("get", known).stdout_bytes) == known
    again = cache.json("pull", name, "--platform", "all", "--form", form)
    assert again["fetched"] == 0
    if animal not in ("build_cache", "build_cache_as_an_image", "without_diff_ids"):
        assert (
            again["inflated"] == 0
        )  # of those nobody says what the tar is called, so they are inflated again
    verified(cache)

    copy = Caller(f"file://{tmp_path}/copy")
    cache("copy", cache.url, copy.url)
    verified(copy)
    cache("copy", cache.url, copy.url, "--form", "both")
    verified(copy)
    presentable(copy)
    if form != "uncompressed":
        assert cache.lines("export", name, f"oci:{tmp_path}/layout:1", "--platform", "all") == [
            [root["digest"]]
        ]
        assert blobs_of(tmp_path / "layout").keys() <= blobs_of(tmp_path / "cache").keys()
        adopted = Caller(f"file://{tmp_path}/layout")
        adopted("adopt", f"{tmp_path}/layout", "--verify")
        verified(adopted)
        presentable(adopted)


@pytest.mark.parametrize("animal", ANIMALS)
def test_a_shared_tier_behind_the_nearest_has_nothing_wrong_either(
    animal: str, registry: LyingRegistry, tmp_path: Path
) -> None:
    keeper = Keeper(registry)
    name = keeper.named(ANIMALS[animal](keeper))
    shared = Caller(f"file://{tmp_path}/shared?trusted=false")
    both = Caller(f"file://{tmp_path}/near")
    both("--cache", shared.url, "pull", name, "--platform", "all", "--form", "both")
    verified(both)
    verified(shared)
    second = Caller(f"file://{tmp_path}/second")
    second("--cache", shared.url, "--offline", "pull", name, "--platform", "all", "--form", "both")
    verified(second)
    verified(shared)
