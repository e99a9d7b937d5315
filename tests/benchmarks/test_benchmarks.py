"""The harness does not rot: it runs, on small sizes. No time is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
