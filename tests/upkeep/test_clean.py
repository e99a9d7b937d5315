"""clean: all that is the cache's goes, and nothing else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import PROGRAM, Caller, on_terminal
from servers.images import make_image, make_layer, noise
from servers.programs import requires, skopeo_copy

import layercache
from layercache.errors import ConfigError
from layercache.tiers.gate import ungated
from layercache.upkeep import clean, count_all, stores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.images import Sample
    from servers.lying import LyingRegistry

    Delete = Callable[[str], None]


def files(folder: Path) -> list[str]:
    """What is below a folder, without the layout's two files and the locks."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [
        name for name in found if name not in ("index.json", "oci-layout") and not name.startswith("locks/")
    ]


@pytest.fixture
def filled(cli: Caller, lying: LyingRegistry, sample: Sample) -> str:
    """An image with both forms of its layers, and a blob that is not a layer."""
    name = lying.add_image("1", sample.image)
    cli("pull", name, "--form", "both")
    cli("put", "--any", "-", stdin=b"not a layer")
    return name


@pytest.mark.usefixtures("filled")
def test_a_cleaned_cache_is_empty_and_works(cli: Caller, tmp_path: Path, filled: str) -> None:
    counted = cli.json("clean", "--dry-run")["tiers"][0]
    assert files(tmp_path / "cache"), "a dry run removes nothing"
    sizes = sum(path.stat().st_size for path in (tmp_path / "cache" / "blobs").rglob("*") if path.is_file())
    assert counted["bytes"] == sizes
    assert counted["blobs"] == len(list((tmp_path / "cache" / "blobs" / "sha256").iterdir()))
    assert (counted["records"], counted["images"]) == (5, 1)
    assert cli.json("clean", "--yes")["tiers"][0] == counted, "what is removed is what was announced"
    assert files(tmp_path / "cache") == []
    assert b'"manifests":[]' in (tmp_path / "cache" / "index.json").read_bytes()
    assert cli("ls", "-a").stdout + cli("images").stdout == ""
    assert [line[4] for line in cli.lines("pull", filled)] == ["fetched"] * 3
    cli("verify")


@pytest.mark.usefixtures("filled")
def test_without_a_terminal_and_yes_nothing_is_removed(cli: Caller, tmp_path: Path) -> None:
    before = files(tmp_path / "cache")
    assert "add --yes" in cli("clean", code=2).stderr
    assert files(tmp_path / "cache") == before


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("typed", "emptied"), [(b"n\n", False), (b"\n", False), (b"y\n", True)])
def test_on_a_terminal_only_yes_removes(cli: Caller, tmp_path: Path, typed: bytes, *, emptied: bool) -> None:
    code, seen = on_terminal(
        [*PROGRAM, "--cache", cli.url, "clean"], when=lambda shown: typed if b"[y/N]" in shown else b""
    )
    assert code == 0, seen
    assert "5 records and 1 image in file://" in " ".join(seen.split())
    assert ("nothing was removed" in seen) == (not emptied)
    assert (files(tmp_path / "cache") == []) == emptied


def test_an_empty_cache_needs_no_confirmation(cli: Caller) -> None:
    cli("put", "-", stdin=make_layer({"a": b"layer"}).blob)
    cli("clean", "--yes")
    assert cli("clean").stdout.startswith("removed 0 blobs (0 B), 0 records and 0 images")


@pytest.mark.usefixtures("filled")
def test_other_files_in_the_folder_stay(cli: Caller, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    others = ["images/holiday.jpg", "blobs/notes.txt", "blobs/sha256/README", "notes/x", "derived/mine"]
    for name in others:
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("mine")
    cli("clean", "--yes")
    assert files(cache) == sorted(others)


def test_a_folder_of_somebody_else_is_not_touched(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache" / "images").mkdir(parents=True)
    (tmp_path / "cache" / "images" / "holiday.jpg").write_text("mine")
    assert "is not a cache" in cli("clean", "--yes", code=2).stderr
    assert files(tmp_path / "cache") == ["images/holiday.jpg"]


def test_a_layout_of_another_tool_is_refused(tmp_path: Path, sample: Sample) -> None:
    requires("skopeo")
    skopeo_copy(f"oci:{sample.layout}:image", f"oci:{tmp_path}/theirs:app")
    theirs = Caller(f"file://{tmp_path}/theirs")
    before = files(tmp_path / "theirs")
    for limit in ([], ["--dry-run"]):
        assert "did not add, and is not a cache" in theirs("prune", "--max-size=1", *limit, code=2).stderr
    said = theirs("clean", "--yes", code=2).stderr
    assert "images that layercache did not add: 1" in said
    assert "adopt" in said
    assert files(tmp_path / "theirs") == before
    theirs("adopt", str(tmp_path / "theirs"))
    theirs("clean", "--yes")
    assert files(tmp_path / "theirs") == []


@pytest.mark.usefixtures("filled")
def test_an_image_that_another_tool_added_is_not_lost(cli: Caller, tmp_path: Path, sample: Sample) -> None:
    requires("skopeo")
    skopeo_copy(f"oci:{sample.layout}:image", f"oci:{tmp_path}/cache:theirs")
    before = files(tmp_path / "cache")
    assert "did not add: 1" in cli("clean", "--yes", code=2).stderr
    assert files(tmp_path / "cache") == before


def test_blobs_alone_are_no_cache(cli: Caller, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    (folder / ("0" * 64)).write_text("mine")
    assert "may not be a cache" in cli("clean", "--yes", code=2).stderr
    assert files(tmp_path / "cache") == [f"blobs/sha256/{'0' * 64}"]


def test_only_the_nearest_writable_tier_is_emptied_unless_all_are_asked_for(
    tmp_path: Path, lying: LyingRegistry, sample: Sample
) -> None:
    name = lying.add_image("1", sample.image)
    near, far = Caller(f"file://{tmp_path}/near"), f"file://{tmp_path}/far"
    near("--cache", far, "pull", name)
    near("--cache", far, "clean", "--yes")
    assert files(tmp_path / "near") == []
    assert len(Caller(far).lines("ls")) == 3
    near("--cache", f"{far}?readonly=true", "clean", "--all-tiers", "--yes")
    assert len(Caller(far).lines("ls")) == 3
    near("--cache", far, "clean", "--all-tiers", "--yes")
    assert files(tmp_path / "far") == []
    assert "every tier is read-only" in Caller(f"{far}?readonly=true")("clean", "--yes", code=2).stderr


class Killed(BaseException):
    pass


@pytest.mark.usefixtures("filled")
def test_a_clean_that_was_cut_off_is_finished_by_the_next(tmp_path: Path, cli: Caller) -> None:
    """After each deletion, what is left can still be seen to be a cache."""
    for last in range(len(files(tmp_path / "cache"))):
        copy = tmp_path / str(last)
        shutil.copytree(tmp_path / "cache", copy)
        with layercache.open(str(copy)) as cache:
            (tier,) = stores_of(cache.tiers, everyone=False, writable=True)
            backend = ungated(tier.backend)
            deleted, delete = iter(range(last)), backend.delete

            def cut_off(key: str, deleted: Iterator[int] = deleted, delete: Delete = delete) -> None:
                if next(deleted, None) is None:
                    raise Killed
                delete(key)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(backend, "delete", cut_off)
                with pytest.raises(Killed):
                    clean(tier)
            clean(tier)
        assert files(copy) == []


def test_the_limit_knows_that_the_cache_is_empty(tmp_path: Path, lying: LyingRegistry) -> None:
    one, two = (make_image([make_layer({"noise": noise(60_000, seed)})]) for seed in (1, 2))
    caller = Caller(f"file://{tmp_path}/cache?max_size=100kB")
    caller("pull", lying.add_image("1", one))
    caller("clean", "--yes")
    caller("pull", lying.add_image("2", two))
    used = caller.json("prune", "--dry-run")["tiers"][0]["left"]
    assert 60_000 < used < 65_000


def test_a_cache_in_memory_or_a_bucket_is_cleaned_too(sample: Sample) -> None:
    with layercache.open("memory://") as cache:
        for layer in cache.image(f"oci:{sample.layout}:image").layers:
            layer.fill()
        (tier,) = stores_of(cache.tiers, everyone=False)
        assert clean(tier).blobs == count_all(tier).blobs + len(sample.image.layers) * 2 - 1 + 2
        assert list(tier.backend.scan()) == []


def test_a_read_only_tier_is_refused(tmp_path: Path) -> None:
    with layercache.open(f"file://{tmp_path}/cache?readonly=true") as cache:
        (tier,) = stores_of(cache.tiers, everyone=False)
        with pytest.raises(ConfigError, match="read-only"):
            clean(tier)
