"""``layercache bench``: a table of ratios, and nothing of it is left in the user's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from fixtures.stores import content

from layercache.bench.benchmark import Benchmark
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ("--size", "1MB", "--count", "3", "--runs", "2")
ROWS = ["big layer up", "big layer down", "first byte", "small layers up", "small layers down", "look-up"]


def test_all_is_measured_beside_the_plain_store(cli: Caller) -> None:
    told = cli.json("bench", *SMALL)
    assert [row["name"] for row in told["results"]] == ROWS
    for row in told["results"]:
        assert row["ours"] > 0
        assert row["plain"] > 0
        assert row["ratio"] > 0
    assert [row["name"] for row in told["results"] if row["file"]] == ROWS[:2]


def test_the_users_entries_are_as_they_were(cli: Caller, file: Path, tmp_path: Path) -> None:
    cli("put", str(file))
    before = content(LocalBackend(str(tmp_path / "cache")))
    shown = cli("bench", *SMALL).stdout
    assert [line[:18].strip() for line in shown.splitlines()[1:]] == ROWS
    assert content(LocalBackend(str(tmp_path / "cache"))) == before
    names = ["blobs", "index.json", "layercache.json", "locks", "oci-layout", "records", "tmp"]
    assert sorted(each.name for each in (tmp_path / "cache").iterdir()) == names


def test_a_url_that_is_not_a_tier_can_be_measured(cli: Caller, tmp_path: Path) -> None:
    cli("bench", "memory://x", *SMALL)
    assert not (tmp_path / "cache").exists()


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        Benchmark(f"file://{tmp_path}/cache", size=100_000, count=2, runs=3) as bench,
    ):
        bench.run(interrupt)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("arguments", [("--size", "5TB"), ("--size", "big"), ("--runs", "0"), ("s4://x",)])
def test_what_cannot_be_measured_is_refused(cli: Caller, arguments: tuple[str, ...]) -> None:
    cli("bench", *arguments, code=2)


def test_a_read_only_cache_is_refused(tmp_path: Path) -> None:
    assert "read-only" in Caller(f"file://{tmp_path}/cache?readonly=true")("bench", code=2).stderr
