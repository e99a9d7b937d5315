"""``layercache copy``: what it prints, how it ends, and that a killed one is gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import PROGRAM, SECONDS, Caller, on_terminal
from servers.images import noise

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Layer, Sample
    from servers.registry import Registry


@pytest.fixture
def other(tmp_path: Path) -> Caller:
    return Caller(f"file://{tmp_path}/other")


def test_it_brings_layers_under_both_names(cli: Caller, other: Caller, file: Path, layer: Layer) -> None:
    cli("put", str(file))
    said = cli("copy", cli.url, other.url)
    assert said.stdout == ""
    assert said.stderr.startswith("copied 2 blobs (")
    assert other("get", layer.diff_id, "-o", "-").stdout_bytes == layer.tar
    assert other("get", layer.digest, "-o", "-").stdout_bytes == layer.blob


def test_json_has_all_counts(cli: Caller, other: Caller, file: Path, layer: Layer) -> None:
    cli("put", str(file))
    told = cli.json("copy", cli.url, other.url, "--form", "compressed")
    assert told.pop("seconds") >= 0
    assert told == {
        "dry_run": False,
        "copied": 1,
        "copied_bytes": len(layer.blob),
        "made": 0,
        "made_bytes": 0,
        "records": 1,
        "indexes": 0,
        "images": 0,
        "present": 0,
        "missing": 0,
        "tags_kept": 0,
        "wrong": 0,
        "unreadable": 0,
        "failures": [],
    }


def test_a_dry_run_makes_not_even_the_folder(cli: Caller, other: Caller, file: Path, tmp_path: Path) -> None:
    cli("put", str(file))
    assert cli("copy", "--dry-run", cli.url, other.url).stderr.startswith("would copy 2 blobs")
    assert not (tmp_path / "other").exists()


def test_a_wrong_entry_ends_with_3_after_the_rest_has_come(
    cli: Caller, other: Caller, file: Path, layer: Layer, tmp_path: Path
) -> None:
    cli("put", str(file))
    blob = tmp_path / "cache" / "blobs" / "sha256" / layer.digest.hex
    blob.write_bytes(layer.blob[:-1] + b"x")
    said = cli("copy", cli.url, other.url, code=3).stderr
    assert f"layercache: {layer.digest}: the bytes of {layer.digest} have the hash sha256:" in said
    assert "1 skipped" in said
    assert other("get", layer.diff_id, "-o", "-").stdout_bytes == layer.tar


def test_a_source_that_does_not_exist_or_is_empty_is_an_error(
    cli: Caller, other: Caller, file: Path, tmp_path: Path
) -> None:
    assert "there is no cache at /typo" in cli("copy", "/typo", other.url, code=1).stderr
    assert "memory://x is empty" in cli("copy", "memory://x", other.url, code=1).stderr
    (tmp_path / "cache").mkdir()
    assert f"{cli.url} is empty" in cli("copy", cli.url, other.url, code=1).stderr
    assert not (tmp_path / "other").exists()
    cli("put", str(file))
    assert "nothing to copy" in cli("copy", "--since", "2999-01-01", cli.url, other.url).stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--since", "yesterday"], 2),
        (["--image", "oci:somewhere"], 2),
        (["--image", "example.org/nothing:1"], 1),
        (["--jobs", "0"], 2),
    ],
)
def test_an_impossible_export_is_reported(
    cli: Caller, other: Caller, arguments: list[str], code: int
) -> None:
    cli("copy", cli.url, other.url, *arguments, code=code)


@pytest.mark.parametrize("age", ["1h", "2000-01-01", "2000-01-01T12:00"])
def test_since_takes_ages_and_dates(cli: Caller, other: Caller, file: Path, age: str) -> None:
    cli("put", str(file))
    assert cli("copy", cli.url, other.url, "--since", age).stderr.startswith("copied 2 blobs")


def test_since_a_day_to_come_there_is_nothing(cli: Caller, other: Caller, file: Path) -> None:
    cli("put", str(file))
    assert cli("copy", cli.url, other.url, "--since", "2999-01-01").stderr.startswith("copied 0 blobs")


def test_a_terminal_shows_progress_and_the_summary_remains(cli: Caller, other: Caller, file: Path) -> None:
    cli("put", str(file))
    code, seen = on_terminal([*PROGRAM, "copy", cli.url, other.url])
    assert code == 0
    assert "copied 2 blobs" in seen


# The copy of one blob stops in its midst, as if the disk had stalled, and says so: then it is killed.
_STALLS = """
import sys, threading
from layercache_backends.local import spool as local

class Stalling(local.LocalSink):
    def write(self, data):
        super().write(data)
        if memoryview(data).nbytes > 1000:
            print("stalled", flush=True)
            threading.Event().wait()

local.LocalSink = Stalling
from layercache.cli import main
sys.argv[1:] = ["copy", "--jobs", "1", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_copy_that_is_killed_leaves_whole_entries_and_the_next_brings_the_rest(
    cli: Caller, other: Caller, tmp_path: Path, number: signal.Signals
) -> None:
    for seed in range(3):
        (tmp_path / "small").write_bytes(noise(500, seed))
        cli("put", "--any", str(tmp_path / "small"))
    assert cli.json("copy", cli.url, other.url)["copied"] == 3
    (tmp_path / "big").write_bytes(noise(2_000_000, 9))
    cli("put", "--any", str(tmp_path / "big"))
    with subprocess.Popen(
        [sys.executable, "-c", _STALLS, cli.url, other.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stalled\n"
        process.send_signal(number)
        process.communicate(timeout=SECONDS)
    assert len(os.listdir(tmp_path / "other" / "blobs" / "sha256")) == 3
    assert os.listdir(tmp_path / "other" / "tmp") == []
    told = json.loads(cli("copy", cli.url, other.url, "--json").stdout)
    assert (told["copied"], told["copied_bytes"], told["present"]) == (1, 2_000_000, 3)


def test_other_tools_see_what_was_copied_into_a_folder(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
    source, target = str(tmp_path / "from"), tmp_path / "to"
    Caller(source)("pull", name)
    Caller(source)("copy", source, str(target))
    index = json.loads((target / "index.json").read_text())
    annotations = [each.get("annotations", {}) for each in index["manifests"]]
    assert name in [each.get("org.opencontainers.image.ref.name") for each in annotations]
