"""The harness does not rot: it runs, on small sizes. No time is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.buckets import STORES, cases

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


@pytest.mark.parametrize("service", ["s3", "gcs"])
def test_a_bucket_is_measured_beside_its_peers(tmp_path: Path, service: str) -> None:
    if lacking := STORES[service].absent():
        pytest.skip(f"needs {', '.join(lacking)}, not installed here")
    figures, folder = tmp_path / "figures.json", tmp_path / "folder"
    folder.mkdir()
    names = [name for name in cases() if name.startswith(service)]
    only = [option for name in names for option in ("--only", name)]
    harness(*only, "--json", str(figures), "--dir", str(folder))
    rows = json.loads(figures.read_text())["rows"]
    assert [name for name in names if any(row["case"].startswith(f"{name}:") for row in rows)] == names
    assert all(row["seconds"] for row in rows)
    assert all(row["ratios"] for row in rows if row["what"].startswith("ours"))
    assert not list(folder.iterdir())
