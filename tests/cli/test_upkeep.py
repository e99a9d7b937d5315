"""``prune``, ``verify``, and the limits that ``stats`` shows."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Layer

DAY = 86400
THEN = time.time() - 100 * DAY


@pytest.fixture
def blobs(cli: Caller, file: Path, tmp_path: Path) -> Path:
    """The folder of the layer's two forms, both unused for a hundred days."""
    cli("put", str(file))
    folder = tmp_path / "cache" / "blobs" / "sha256"
    for path in folder.iterdir():
        os.utime(path, (THEN,) * 2)
    return folder


def test_prune_removes_what_is_too_much_and_prints_it(cli: Caller, layer: Layer, blobs: Path) -> None:
    size = len(layer.blob)
    called = cli("prune", "--max-size", str(size))
    [line] = [line.split("\t") for line in called.stdout.splitlines()]
    then = time.strftime("%Y-%m-%d", time.gmtime(THEN))
    assert (line[0], line[1], line[3]) == (layer.diff_id, str(len(layer.tar)), "size")
    assert line[2].startswith(then)
    assert "removed 1 blob" in called.stderr
    assert [path.name for path in blobs.iterdir()] == [layer.digest.hex]


def test_prune_removes_what_is_old(cli: Caller, layer: Layer, blobs: Path) -> None:
    assert cli.lines("prune", "--older-than", "200d") == []
    names = {line[0] for line in cli.lines("prune", "--older-than", "30d")}
    assert names == {layer.digest, layer.diff_id}
    assert list(blobs.iterdir()) == []


def test_a_dry_run_prints_what_would_be_removed(cli: Caller, blobs: Path) -> None:
    called = cli("prune", "--older-than", "30d", "--dry-run")
    assert len(called.stdout.splitlines()) == 2
    assert "would remove 2 blobs" in called.stderr
    assert len(list(blobs.iterdir())) == 2


def test_prune_without_a_limit_reports_that_nothing_was_evicted(cli: Caller, blobs: Path) -> None:
    leftover = blobs.parents[1] / "tmp" / "1-left"
    leftover.write_bytes(b"part of a layer")
    os.utime(leftover, (1, 1))
    called = cli("prune")
    assert "removed 0 blobs (0 B), 1 leftover;" in called.stderr
    assert "no limit is set" in called.stderr
    assert not leftover.exists()
    assert len(list(blobs.iterdir())) == 2


@pytest.fixture
def leave(blobs: Path) -> Callable[[str, float], Path]:
    """Leaves what a writer that was killed so many seconds ago would leave."""

    def make(name: str, age: float) -> Path:
        path = blobs.parents[1] / "tmp" / name
        path.write_bytes(b"part of a layer")
        os.utime(path, (time.time() - age,) * 2)
        return path

    return make


def test_leftovers_that_are_too_young_are_counted_and_go_by_an_age_that_is_named(
    cli: Caller, blobs: Path, leave: Callable[[str, float], Path]
) -> None:
    young, old = leave("1-young", 7200), leave("2-old", 3 * 86400)
    assert "0 blobs (0 B), 1 leftover (1 younger than 1d);" in cli("prune").stderr
    assert (young.exists(), old.exists()) == (True, False)
    assert "0 leftovers (1 younger than 3h);" in cli("prune", "--leftovers-older-than", "3h").stderr
    told = cli.json("prune", "--leftovers-older-than", "0s")
    assert told["tiers"][0]["leftovers_left"] == 0
    assert not young.exists()
    assert len(list(blobs.iterdir())) == 2, "an age of leftovers is none of blobs"


@pytest.mark.parametrize(("age", "goes"), [("3h", False), ("1h", True), ("0s", True), ("200d", False)])
def test_the_age_for_blobs_applies_to_leftovers_too(
    age: str, goes: bool, cli: Caller, leave: Callable[[str, float], Path]
) -> None:
    left, old = leave("1-left", 7200), leave("2-old", 2 * 86400)
    cli("prune", "--older-than", age)
    assert left.exists() is not goes
    assert not old.exists(), "no age makes them stay longer than a day"


def test_a_leftover_from_the_future_counts_as_new(cli: Caller, leave: Callable[[str, float], Path]) -> None:
    left = leave("1-left", -86400)
    cli("prune", "--leftovers-older-than", "1m")
    assert left.exists()
    cli("prune", "--leftovers-older-than", "0s")
    assert not left.exists()


def test_stats_and_doctor_report_leftovers(cli: Caller, leave: Callable[[str, float], Path]) -> None:
    (tier,) = cli.json("stats")["tiers"]
    assert (tier["leftovers"], tier["leftover_bytes"], tier["leftover_age"]) == (0, 0, None)
    assert "leftovers" not in cli("stats").stdout
    assert "  ok       leftovers      none" in cli("doctor").stdout
    leave("1-left", 7200)
    assert "  ok       leftovers      1, 0.0 MB, the oldest begun 2h ago" in cli("doctor").stdout
    leave("2-left", 3 * 86400)
    (tier,) = cli.json("stats")["tiers"]
    assert (tier["leftovers"], tier["leftover_bytes"], tier["leftover_age"] // 86400) == (2, 30, 3)
    assert "  leftovers  2, 0.0 MB, the oldest begun 3d ago" in cli("stats").stdout
    said = cli("doctor").stdout
    assert "  warning  leftovers      2, 0.0 MB, the oldest begun 3d ago" in said
    assert "layercache prune removes unfinished writes older than a day" in said


def test_prune_holds_the_limits_of_the_url(cli: Caller, blobs: Path) -> None:
    called = Caller(f"{cli.url}?max_age=30d")("prune")
    assert "removed 2 blobs" in called.stderr
    assert "no limit" not in called.stderr
    assert list(blobs.iterdir()) == []


def test_prune_in_json(cli: Caller, layer: Layer, blobs: Path) -> None:
    told = cli.json("prune", "--max-size", "1kB", "--forget")
    [tier] = told["tiers"]
    assert (told["dry_run"], tier["tier"], tier["blobs"], tier["left"], tier["records"]) == (
        False,
        cli.url,
        2,
        0,
        1,
    )
    assert {each["name"] for each in tier["removed"]} == {layer.digest, layer.diff_id}
    assert tier["bytes"] == len(layer.blob) + len(layer.tar)
    assert list(blobs.iterdir()) == []


def test_prune_acts_on_far_tiers_only_with_all_tiers(cli: Caller, file: Path, tmp_path: Path) -> None:
    far = Caller(f"file://{tmp_path}/far")
    far("put", str(file))
    assert cli.lines("prune", "--max-size", "0", "--cache", far.url) == []
    lines = cli.lines("prune", "--max-size", "0", "--all-tiers", "--cache", far.url)
    assert [line[4] for line in lines] == [far.url, far.url]


@pytest.mark.parametrize("option", [("--max-size", "20XB"), ("--older-than", "soon"), ("--max-size", "-1")])
def test_prune_refuses_an_invalid_limit(cli: Caller, option: tuple[str, str]) -> None:
    assert "expected" in cli("prune", *option, code=2).stderr


def test_prune_refuses_a_read_only_cache(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    assert "read-only" in Caller(f"{cli.url}?readonly=true")("prune", "--max-size", "0", code=2).stderr


def test_verify_of_what_is_right(cli: Caller, layout: str, blobs: Path) -> None:
    cli("pull", layout)
    called = cli("verify", "--deep")
    assert called.stdout == ""
    assert "checked 7 blobs" in called.stderr
    assert ": 0 wrong" in called.stderr
    assert len(list(blobs.iterdir())) == 7


def test_verify_prints_what_is_wrong_puts_it_aside_and_ends_with_3(
    cli: Caller, layer: Layer, blobs: Path, tmp_path: Path
) -> None:
    (blobs / layer.digest.hex).write_bytes(b"other bytes")
    called = cli("verify", code=3)
    key = f"blobs/sha256/{layer.digest.hex}"
    assert called.stdout.startswith(f"blob\tquarantined\t{key}\tholds 11 bytes that hash to sha256:")
    assert "1 wrong" in called.stderr
    assert (tmp_path / "cache" / "quarantine" / key).read_bytes() == b"other bytes"
    assert not (blobs / layer.digest.hex).exists()
    cli("verify")
    cli("get", layer.digest, code=1)


def test_verify_leaves_a_read_only_cache_as_it_is(cli: Caller, layer: Layer, blobs: Path) -> None:
    (blobs / layer.digest.hex).write_bytes(b"other bytes")
    called = Caller(f"{cli.url}?readonly=true")("verify", code=3)
    assert called.stdout.startswith("blob\tleft in place\t")
    assert (blobs / layer.digest.hex).exists()


def test_verify_in_json(cli: Caller, layer: Layer, blobs: Path) -> None:
    (blobs / layer.digest.hex).write_bytes(b"other bytes")
    [tier] = cli.json("verify", code=3)["tiers"]
    assert (tier["tier"], tier["blobs"], tier["records"], tier["images"]) == (cli.url, 2, 2, 0)
    [problem] = tier["problems"]
    assert (problem["kind"], problem["quarantined"], problem["unreadable"]) == ("blob", True, False)


def test_verify_of_a_sample(cli: Caller, blobs: Path) -> None:
    assert "checked 1 blob " in cli("verify", "--sample", "1").stderr
    assert "checked 0 blobs" in cli("verify", "--sample", "0%").stderr
    assert "checked 2 blobs" in cli("verify", "--sample", "100%").stderr
    for wrong in ("5x", "-1", "101%", "0.5", ""):
        assert "not a sample" in cli("verify", "--sample", wrong, code=2).stderr


def test_verify_checks_only_the_nearest_tier_without_all_tiers(
    cli: Caller, file: Path, tmp_path: Path
) -> None:
    far = Caller(f"file://{tmp_path}/far")
    far("put", str(file))
    assert "checked 0 blobs" in cli("verify", "--cache", far.url).stderr
    assert len(cli.json("verify", "--all-tiers", "--cache", far.url)["tiers"]) == 2


def test_verify_prints_sentences_on_a_terminal(cli: Caller, layer: Layer, blobs: Path) -> None:
    (blobs / layer.digest.hex).write_bytes(b"other bytes")
    code, seen = cli.on_terminal("verify")
    assert code == 3
    assert f"blobs/sha256/{layer.digest.hex}\n  holds 11 bytes" in seen


@pytest.mark.usefixtures("blobs")
def test_stats_shows_the_limits_and_how_full_a_tier_is(cli: Caller) -> None:
    assert "  limits" not in cli("stats").stdout
    limited = Caller(f"{cli.url}?max_size=20kB&max_age=90m")
    assert "  limits  20.0 kB, 67% full; 90m unused\n" in limited("stats").stdout
    [tier] = limited.json("stats")["tiers"]
    assert (tier["max_size"], tier["max_age"]) == (20_000, 5400.0)
