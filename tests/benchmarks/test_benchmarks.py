"""The harness does not rot: it runs, on small sizes. No time is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.buckets import absent
from benchmarks.images import missing

RUN = Path(__file__).with_name("run.py")


def harness(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), "--quick", "--runs", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_look_ups_are_measured_by_either_name_and_nothing_is_left(tmp_path: Path) -> None:
    figures, folder = tmp_path / "figures.json", tmp_path / "folder"
    folder.mkdir()
    said = harness("--only", "lookup", "--json", str(figures), "--dir", str(folder)).stdout
    rows = json.loads(figures.read_text())["rows"]
    assert {row["case"] for row in rows} == {
        "lookup: get by diff ID",
        "lookup: get by digest",
        "lookup: open of the tar, after get",
    }
    assert {row["what"] for row in rows} == {"10 layers", "100 layers"}
    assert all(row["seconds"] and row["case"] in said for row in rows)
    assert not list(folder.iterdir())


def test_a_bucket_is_measured_beside_its_peers(tmp_path: Path) -> None:
    if lacking := absent():
        pytest.skip(f"needs {', '.join(lacking)}, not installed here")
    figures, folder = tmp_path / "figures.json", tmp_path / "folder"
    folder.mkdir()
    names = ("bucket", "bucket_small", "bucket_slow", "bucket_cold")
    only = [option for name in names for option in ("--only", name)]
    harness(*only, "--json", str(figures), "--dir", str(folder))
    rows = json.loads(figures.read_text())["rows"]
    assert [name for name in names if any(row["case"].startswith(f"{name}:") for row in rows)] == list(names)
    assert all(row["seconds"] for row in rows)
    assert all(row["ratios"] for row in rows if row["what"].startswith("ours"))
    assert not list(folder.iterdir())


def test_askers_of_one_layer_are_one_fetch_and_one_inflation(tmp_path: Path) -> None:
    if lacking := missing("docker-registry"):
        pytest.skip(f"needs {', '.join(lacking)}, not installed here")
    figures = tmp_path / "figures.json"
    harness("--only", "askers", "--json", str(figures), "--dir", str(tmp_path))
    rows = {row["what"]: row for row in json.loads(figures.read_text())["rows"]}
    for way in ("for the tar's path", "for the tar, read whole"):
        assert "1 fetched, 1 inflated" in rows[f"10 askers {way}"]["note"]
        assert rows[f"10 askers {way}"]["ratios"]
    assert rows["10 plain readers of the file"]["note"] == "by the registry's log 8 fetches in 8 pulls"


def test_listing_is_measured_beside_the_systems_calls(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    harness("--only", "listing", "--json", str(figures), "--dir", str(tmp_path))
    rows = json.loads(figures.read_text())["rows"]
    listed = [row for row in rows if row["case"] == "listing: 200 layers, 800 entries"]
    assert [row["what"] for row in listed if row["ratios"]] == ["ls", "ls --json", "stats"]
