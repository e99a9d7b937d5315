"""``layercache stats``: totals of all processes, printed, as JSON, and for Prometheus."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from fixtures.calling import PROGRAM, Caller, on_terminal

from layercache.statistics.totals import Day, PlaceTotals

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for states, of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "layercache"


def day_of(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def record(state: Path, back: int, *places: PlaceTotals) -> None:
    """What a process did some days ago."""
    state.mkdir(parents=True, exist_ok=True)
    with open(state / "statistics.jsonl", "ab") as file:
        file.write(msgspec.json.encode(Day(day_of(time.time() - back * 86400), list(places))) + b"\n")


def test_a_pull_and_its_repetition_are_in_the_totals(cli: Caller, layout: str, sample: Sample) -> None:
    start = time.time()
    size = sum(len(layer.blob) for layer in sample.image.layers)
    cli("pull", layout)
    cli("pull", layout)
    totals = cli.json("stats", "--totals")["totals"]
    assert (totals["hits"], totals["fetched"], totals["hit_rate"]) == (3, 3, 0.5)
    assert (totals["fetched_bytes"], totals["saved_bytes"]) == (size, size)
    assert {place["name"]: place["blobs"] for place in totals["places"]} == {
        cli.url: 3,
        layout.removesuffix(":image"): 3,
    }
    days = totals["days"]
    assert sum(day["hits"] for day in days) == 3
    assert {day["day"] for day in days} <= {day_of(start), day_of(time.time())}


def test_commands_that_read_no_layer_write_nothing(cli: Caller, layout: str, state: Path) -> None:
    cli("pull", layout)
    (state / "statistics.jsonl").unlink()
    for arguments in (["ls"], ["stats"], ["images"], ["config", "show"], ["explain", "alpine"], ["verify"]):
        cli(*arguments)
    assert os.listdir(state) == []


def test_since_leaves_out_older_days_and_reads_no_tier(cli: Caller, state: Path) -> None:
    record(state, 9, PlaceTotals("tier", "s3://team", 5, 50, 50, 0))
    record(state, 2, PlaceTotals("tier", "s3://team", 1, 10, 10, 0))
    assert cli.json("stats", "--since", "7d")["totals"]["hits"] == 1
    assert cli.json("stats", "--since", "2w")["totals"]["hits"] == 6
    assert "tiers" not in cli.json("stats", "--since", "7d")
    assert cli("stats", "--since", "1d").stdout.startswith("totals since 20")


def test_the_file_for_prometheus_has_valid_counters(cli: Caller, state: Path, tmp_path: Path) -> None:
    record(
        state,
        0,
        PlaceTotals("tier", 'file:///a"b\\c', 2, 10, 7, 3),
        PlaceTotals("registry", "docker.io", 1, 5),
    )
    target = tmp_path / "layercache.prom"
    target.write_text("old\n")
    cli("stats", "--prometheus", str(target))
    lines = target.read_text().splitlines()
    assert 'layercache_hits_total{kind="tier",place="file:///a\\"b\\\\c"} 2' in lines
    assert 'layercache_fetched_bytes_total{kind="registry",place="docker.io"} 5' in lines
    names = [line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")]
    for name in names:
        assert re.fullmatch(r"layercache_[a-z_]+_total", name)
        assert f"# TYPE {name} counter" in lines
        assert any(line.startswith(f"# HELP {name} ") for line in lines)
    assert target.read_bytes().endswith(b"\n")
    assert sorted(os.listdir(tmp_path)) == ["layercache.prom", "state"], "nothing unfinished is left"
    assert cli("stats", "--prometheus", "-").stdout == target.read_text()
    cli("stats", "--prometheus", str(tmp_path), code=2)
    cli("stats", "--prometheus", str(target), "--since", "7d", code=2)


def test_reset_forgets_everything(cli: Caller, state: Path) -> None:
    record(state, 0, PlaceTotals("tier", "s3://team", 5, 50, 50, 0))
    assert "removed the totals" in cli("stats", "--reset").stderr
    assert "there are no totals" in cli("stats", "--reset").stderr
    assert cli("stats", "--totals").stdout == "totals: none yet\n"


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "█"), ("ascii", "#")])
def test_a_terminal_shows_a_bar_for_each_day(
    state: Path, cli: Caller, encoding: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for back, size in ((3, 10_000_000), (1, 40_000_000)):
        record(state, back, PlaceTotals("tier", "s3://team", 1, size, size, 0))
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    code, seen = on_terminal([*PROGRAM, "--cache", cli.url, "stats", "--totals"])
    assert code == 0
    bars = [line.split() for line in seen.splitlines() if re.match(r"  20\d\d-", line)]
    assert len(bars) == 4, "the days without anything too"
    assert [len(bar) for bar in bars] == [4, 1, 4, 1]
    assert bars[2][3].count(mark) == 30
    assert set(bars[0][3]) <= {mark, "▌"}
    assert max(len(line) for line in seen.splitlines()) <= 80


def test_without_a_home_nothing_is_recorded_and_nothing_said(cli: Caller, layout: str) -> None:
    for environment in ({"HOME": "", "XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "/proc/nowhere"}):
        done = cli.process("pull", layout, environment=environment)
        assert done.returncode == 0
        assert b"warning" not in done.stderr
