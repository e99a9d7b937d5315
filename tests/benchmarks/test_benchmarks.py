"""The harness does not rot: it runs, on small sizes. No time is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.bound import cores
from benchmarks.buckets import STORES, cases
from benchmarks.engines import OWN
from benchmarks.files import RATARMOUNT, TAR
from benchmarks.images import missing
from benchmarks.pulls import SKOPEO, SKOPEO_DIR
from benchmarks.unpack import UMOCI

RUN = Path(__file__).with_name("run.py")
PLOTS = RUN.with_name("plots.py")


def harness(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), "--quick", "--runs", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def drawn(folder: Path, *figures: Path) -> dict[str, set[str]]:
    """The words of each plot that is made of these figures."""
    subprocess.run([sys.executable, str(PLOTS), *map(str, figures), "--to", str(folder)], check=True)
    return {
        path.stem: {text.text or "" for text in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")}
        for path in folder.iterdir()
    }


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


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", ["s3", "gcs"])
def test_a_bucket_is_measured_beside_its_peers(tmp_path: Path, service: str) -> None:
    if lacking := STORES[service].absent():
        pytest.skip(f"needs {', '.join(lacking)}, not installed here")
    figures, folder = tmp_path / "figures.json", tmp_path / "folder"
    folder.mkdir()
    names = [name for name in cases() if name.startswith(service)]
    names += ["engines"] * (service == "s3")
    only = [option for name in names for option in ("--only", name)]
    harness(*only, "--json", str(figures), "--dir", str(folder))
    rows = json.loads(figures.read_text())["rows"]
    assert [name for name in names if any(row["case"].startswith(f"{name}:") for row in rows)] == names
    assert all(row["seconds"] for row in rows)
    assert all(row["ratios"] for row in rows if row["what"].startswith("ours") and row["what"] != OWN)
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_a_usual_image_is_measured_beside_what_the_cores_need_for_it(tmp_path: Path) -> None:
    if lacking := missing("docker-registry", "skopeo"):
        pytest.skip(f"needs {', '.join(lacking)}, not installed here")
    figures = tmp_path / "figures.json"
    harness("--only", "medium", "--json", str(figures))
    rows = json.loads(figures.read_text())["rows"]
    assert all(row["seconds"] for row in rows)
    ratios = {row["what"]: list(row["ratios"]) for row in rows}
    bound = f"bound of both forms: all CPU work / {cores()} cores"
    assert ratios[f"CPU of pull --form both / {cores()} cores"] == [bound]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pulls_are_measured_beside_skopeo_and_umoci_and_a_warm_layer_beside_cat_and_cp(
    tmp_path: Path,
) -> None:
    if lacking := missing("docker-registry", "skopeo", "umoci", "zstd", "pigz", "ratarmount", "fusermount3"):
        pytest.skip(f"needs {', '.join(lacking)}, not installed here")
    figures, folder = tmp_path / "figures.json", tmp_path / "folder"
    folder.mkdir()
    cases = ("small", "unpack", "warm", "bound", "compress", "files")
    only = [option for name in cases for option in ("--only", name)]
    harness(*only, "--json", str(figures), "--dir", str(folder))
    rows = json.loads(figures.read_text())["rows"]
    assert all(row["seconds"] for row in rows)
    beside = {(row["case"].partition(":")[0], peer) for row in rows for peer in row["ratios"]}
    assert beside >= {
        ("small", SKOPEO),
        ("small", SKOPEO_DIR),
        ("unpack", UMOCI),
        ("files", TAR),
        ("files", RATARMOUNT),
        ("warm", "cat to /dev/null"),
        ("warm", "cp to a new file"),
        ("warm", "cat into a pipe"),
    }
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_askers_of_one_layer_are_one_fetch_and_one_inflation(tmp_path: Path) -> None:
    if lacking := missing("docker-registry"):
        pytest.skip(f"needs {', '.join(lacking)}, not installed here")
    figures = tmp_path / "figures.json"
    harness("--only", "askers", "--json", str(figures), "--dir", str(tmp_path))
    rows = {row["what"]: row for row in json.loads(figures.read_text())["rows"]}
    for way in ("for the tar's path", "for the tar, read whole"):
        assert "1 fetched, 1 inflated" in rows[f"10 askers {way}"]["note"]
        assert rows[f"10 askers {way}"]["ratios"]
    assert rows["10 plain readers of the file"]["note"] == "by the registry's log 4 fetches in 4 pulls"


@pytest.mark.slow
def test_listing_is_measured_beside_find_and_the_systems_calls_and_look_ups_are_drawn(tmp_path: Path) -> None:
    figures, plots = tmp_path / "figures.json", tmp_path / "plots"
    harness("--only", "listing", "--only", "lookup", "--json", str(figures), "--dir", str(tmp_path))
    rows = json.loads(figures.read_text())["rows"]
    listed = [row for row in rows if row["case"] == "listing: 200 layers, 800 entries"]
    compared = [row["what"] for row in listed if "find -printf" in row["ratios"]]
    assert compared == ["ls", "ls --sort none", "ls --json", "stats"]
    assert list(drawn(plots, figures)) == ["lookups"]


def test_figures_become_plots(tmp_path: Path) -> None:
    def row(case: str, what: str, **ratios: float) -> dict[str, object]:
        return {"case": case, "what": what, "median_seconds": 5e-5, "ratios": ratios}

    figures, later = tmp_path / "figures.json", tmp_path / "later.json"
    rows = [
        row("big: 1 x 800 MB", "pull --form both", **{"skopeo copy": 1.22}),
        row("big: 1 x 800 MB", "pull --form both, unsynced", **{"the same, synced": 0.97}),
        row("bound: gzip, 800 MB", "one pass", **{"bound: all CPU work": 1.08}),
        row("lookup: get by digest", "10 layers"),
        row("lookup: get by digest", "1,000 layers", **{"10 layers": 1.0}),
        row("startup", "a bare interpreter"),
    ]
    figures.write_text(json.dumps({"rows": rows}))
    later.write_text(json.dumps({"rows": [row("bound: gzip, 800 MB", "one pass", bound=1.03)]}))
    plots = drawn(tmp_path / "plots", figures, later)
    assert {"10", "1,000", "get by digest: 50"} <= plots["lookups"]
    assert {"1 x 800 MB, both forms", "1.22"} <= plots["pulls"]
    assert "0.97" not in plots["pulls"]
    assert {"one pass, both forms, gzip, 800 MB", "1.03"} <= plots["bounds"], "the later file counts"
    assert "1.08" not in plots["bounds"]


def test_figures_of_fleets_become_a_plot_and_the_table_of_a_page(tmp_path: Path) -> None:
    def row(machines: int, *, leases: bool) -> dict[str, object]:
        counted = {"requests": 1234, "refused": 5, "dollars": 0.5, "fetches": 30, "fetched_bytes": 6e9}
        figures = counted | {
            "machines": machines,
            "leases": leases,
            "seconds": 12.0 * machines,
            "longest_wait": 4,
        }
        what = f"{machines} machines, {leases}"
        return {"case": "scale: S3, x", "what": what, "median_seconds": 1.0, "ratios": {}, "figures": figures}

    figures, page = tmp_path / "figures.json", tmp_path / "scale.md"
    figures.write_text(
        json.dumps({"rows": [row(1000, leases=False), row(10, leases=True), row(10, leases=False)]})
    )
    page.write_text("# Scale\n\n<!-- figures -->\nold\n<!-- end of figures -->\n\nAfter.\n")
    plots = drawn(tmp_path / "plots", figures)
    assert {"10", "1,000", "S3, with leases: 120", "S3, without leases: 12000"} <= plots["scale"]
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("# Scale", "After.")
    assert "old" not in lines
    assert [line.split(" | ")[:4] for line in lines if "S3" in line] == [
        ["| 10", "S3", "yes", "120.0 s"],
        ["| 10", "S3", "no", "120.0 s"],
        ["| 1,000", "S3", "no", "12,000.0 s"],
    ]


@pytest.mark.slow
def test_fleets_are_simulated_in_front_of_each_service_with_and_without_leases(tmp_path: Path) -> None:
    pytest.importorskip("greenlet", reason="needs greenlet, which the development dependencies have")
    figures = tmp_path / "figures.json"
    harness("--only", "scale", "--json", str(figures), "--dir", str(tmp_path))
    rows = json.loads(figures.read_text())["rows"]
    assert [row["what"] for row in rows] == 2 * ["10 machines with leases", "10 machines without leases"]
    assert all(row["figures"]["requests"] and not row["figures"]["failures"] for row in rows)


def test_figures_of_nothing_that_is_drawn_are_an_error(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text('{"rows": []}')
    command = [sys.executable, str(PLOTS), str(figures), "--to", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert (done.returncode, list(tmp_path.glob("*.svg"))) == (1, [])
