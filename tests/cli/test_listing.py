"""ls, info, stats and rm: what is there, and what is there no more."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from array import array
from contextlib import closing, redirect_stdout
from typing import TYPE_CHECKING, Any

import click
import pytest
from fixtures.calling import Caller
from servers.images import compressed

import layercache
from layercache.cli import output
from layercache.cli.output import human
from layercache.cli.program import program
from layercache.oci.digest import DiffID, Digest
from layercache.tiers.association import Association
from layercache.tiers.facts import FactStore
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.images import Layer

NOWHERE = f"sha256:{'0' * 64}"
LAYERS = 1000


@pytest.fixture
def kept(cli: Caller, file: Path) -> None:
    cli("put", str(file))


@pytest.mark.usefixtures("kept")
def test_ls_prints_a_line_a_layer(cli: Caller, layer: Layer) -> None:
    sizes = (str(len(layer.blob)), str(len(layer.tar)))
    (line,) = cli.lines("ls")
    assert [*line[:4], line[5]] == [layer.digest, layer.diff_id, *sizes, "both"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", line[4])


@pytest.mark.usefixtures("kept")
def test_ls_prints_a_document_a_line(cli: Caller, layer: Layer) -> None:
    listed = cli.json("ls")
    assert abs(listed.pop("last_used") - time.time()) < 60
    assert listed == {
        "digest": layer.digest,
        "diff_id": layer.diff_id,
        "size": len(layer.blob),
        "uncompressed_size": len(layer.tar),
        "media_type": layer.media_type,
        "computed": True,
        "forms": "both",
        "tier": cli.url,
    }


def test_ls_of_an_empty_cache_is_empty(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    assert cli("ls").stdout == ""
    assert cli("ls", "--json").stdout == ""


@pytest.mark.usefixtures("kept")
def test_ls_is_short_on_a_terminal_and_whole_if_asked(cli: Caller, layer: Layer) -> None:
    code, seen = cli.on_terminal("ls")
    header, line = click.unstyle(seen).splitlines()
    assert code == 0
    assert header.split() == ["DIGEST", "DIFF", "ID", "SIZE", "TAR", "USED", "FORMS"]
    sizes = [human(len(layer.blob)), human(len(layer.tar))]
    cells = line.split()
    assert cells[:6] == " ".join([layer.digest.hex[:12], layer.diff_id.hex[:12], *sizes]).split()
    assert (cells[-1], "now" in line or "ago" in line) == ("both", True)
    assert "\x1b" not in click.unstyle(seen)
    code, seen = cli.on_terminal("ls", "--no-trunc")
    assert layer.digest in seen
    assert str(len(layer.blob)) in seen


@pytest.mark.usefixtures("kept")
def test_ls_leaves_out_layers_of_which_nothing_is_there(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    for name in (layer.digest, layer.diff_id):
        (tmp_path / "cache" / "blobs" / "sha256" / name.hex).unlink()
    assert cli.lines("ls") == []
    assert [line[-1] for line in cli.lines("ls", "--all")] == ["none"]


def test_ls_lists_a_pair_once_though_it_is_claimed_and_computed(cli: Caller, layout: str) -> None:
    cli("pull", layout)
    claimed = [json.loads(line) for line in cli("ls", "--json").stdout.splitlines()]
    assert {each["computed"] for each in claimed} == {False}
    cli("pull", layout, "--form", "both")
    computed = [json.loads(line) for line in cli("ls", "--json").stdout.splitlines()]
    assert [each["computed"] for each in computed if each["uncompressed_size"]] == [True] * 3
    assert sorted(each["digest"] for each in claimed) == sorted(each["digest"] for each in computed)


def test_a_claim_of_a_blob_that_was_computed_is_not_listed(cli: Caller, layer: Layer, file: Path) -> None:
    with layercache.open(cli.url) as cache:
        false = Association(layer.digest, DiffID.of(b"another tar"), len(layer.blob), layer.media_type)
        cache.tiers[0].facts.record(false)
        assert [line[1] for line in cli.lines("ls")] == []
        assert [line[1] for line in cli.lines("ls", "--all")] == [false.diff_id]
        cli("put", str(file))
        cache.tiers[0].facts.record(false)
    assert [line[1] for line in cli.lines("ls", "--all")] == [layer.diff_id]
    assert cli.json("stats")["tiers"][0]["layers"] == 1


def test_ls_ends_quietly_when_nobody_reads_on(cli: Caller) -> None:
    tier = open_tier(f"{cli.url}?sync=false", nearest=True)
    for number in range(700):  # more lines than a pipe holds
        name = str(number).encode()
        tier.facts.record(Association(Digest.of(name), DiffID.of(name + b"!"), 1, computed=True))
    with cli.begin("ls", "--all") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"sha256:")
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


@pytest.mark.parametrize("command", [["ls", "--all", "--sort", "none"], ["stats"]], ids=lambda each: each[0])
def test_what_lists_as_it_finds_keeps_nothing_of_the_layers_before(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Memory is looked at between two layers: the peak of a single read would hide hundreds of them."""
    url = f"memory://{command[0]}"
    with closing(open_tier(url, nearest=True)) as tier:
        for number in range(LAYERS):
            text = b"%d" % number
            tier.facts.record(Association(Digest.of(text), DiffID.of(text + b"!"), 1, computed=True))
    scan, seen = FactStore.scan, array("q", [])

    def watched(facts: FactStore) -> Iterator[Association]:
        for fact in scan(facts):
            yield fact
            seen.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr(FactStore, "scan", watched)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        tracemalloc.start()
        try:
            program(["--cache", url, *command], standalone_mode=False)
        finally:
            tracemalloc.stop()
    assert len(seen) == LAYERS
    kept = (seen[-1] - seen[LAYERS // 2]) / (LAYERS / 2)
    assert kept < 50, "bytes of each layer"


def unbuffered(path: str) -> io.TextIOWrapper:
    """A file as PYTHONUNBUFFERED makes stdout one: a text without a buffer below."""
    raw: Any = io.FileIO(path, "w")
    return io.TextIOWrapper(raw, write_through=True)


def test_lines_go_out_in_blocks_where_python_is_told_not_to_buffer(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with unbuffered(str(path)) as out, redirect_stdout(out):
        output.written("before")
        with output.in_blocks():
            for number in range(LAYERS):
                output.written(f"line {number}")
                assert number > 100 or path.read_text() == "before\n"
        assert path.read_text().splitlines() == ["before", *(f"line {number}" for number in range(LAYERS))]
        output.written("the next is written at once")
        assert path.read_text().endswith("at once\n")


CUT = """
import resource, sys
from layercache.cli import output

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with output.in_blocks():
    for _ in range(150):
        output.written(79 * "x")
"""


def test_what_a_file_does_not_take_of_a_block_is_not_lost_without_an_error(tmp_path: Path) -> None:
    """The system takes the first part of the second block, and reports nothing."""
    with (tmp_path / "lines").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", CUT],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    assert done.returncode == 1
    assert "File too large" in done.stderr


@pytest.mark.usefixtures("kept")
def test_info_shows_everything_under_either_name(cli: Caller, layer: Layer) -> None:
    told = cli.json("info", layer.digest)
    assert told == cli.json("info", layer.diff_id)
    assert told == {
        "diff_id": layer.diff_id,
        "uncompressed_size": len(layer.tar),
        "blobs": [
            {
                "digest": layer.digest,
                "size": len(layer.blob),
                "media_type": layer.media_type,
                "computed": True,
            }
        ],
        "tiers": [{"tier": cli.url, "compressed": [layer.digest], "uncompressed": True}],
        "images": [],
    }


@pytest.mark.usefixtures("kept")
def test_info_names_every_digest_and_every_tier(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    zstd = compressed(layer.tar, "zstd")
    far = Caller(f"file://{tmp_path}/far?keep=compressed")
    far("put", "-", stdin=zstd)
    told = cli.json("info", layer.digest, "--cache", far.url)
    assert [blob["digest"] for blob in told["blobs"]] == [layer.digest, Digest.of(zstd)]
    assert [tier["uncompressed"] for tier in told["tiers"]] == [True, False]
    assert [tier["compressed"] for tier in told["tiers"]] == [[layer.digest], [Digest.of(zstd)]]
    text = cli("info", layer.diff_id, "--cache", far.url).stdout
    assert f"tier     {cli.url}\n         compressed and uncompressed\n" in text


@pytest.mark.usefixtures("kept")
def test_info_shows_associations_without_cached_forms(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    for name in (layer.digest, layer.diff_id):
        (tmp_path / "cache" / "blobs" / "sha256" / name.hex).unlink()
    assert cli.json("info", layer.diff_id)["blobs"][0]["digest"] == layer.digest
    assert "not cached here" in cli("info", layer.diff_id).stdout
    cli("get", layer.diff_id, code=1)


def test_info_of_an_opaque_blob_shows_its_size(cli: Caller) -> None:
    cli("put", "--any", "-", stdin=b"no layer")
    told = cli.json("info", Digest.of(b"no layer"))
    assert (told["diff_id"], told["blobs"][0]["size"]) == (None, 8)
    assert "8 bytes" in cli("info", Digest.of(b"no layer")).stdout


def test_info_of_an_unknown_hash_is_not_found(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    assert f"{NOWHERE} is not cached" in cli("info", NOWHERE, code=1).stderr


@pytest.mark.usefixtures("kept")
def test_stats_counts_by_form(cli: Caller, layout: str) -> None:
    (before,) = cli.json("stats")["tiers"]
    assert (before["blobs"], before["layers"], before["both_forms"]) == (2, 1, 1)
    cli("pull", layout)
    (after,) = cli.json("stats")["tiers"]
    # Three layers, a manifest and a config; the plain one is both forms at once.
    assert (after["blobs"], after["layers"]) == (7, 4)
    assert (after["both_forms"], after["compressed_only"], after["uncompressed_only"]) == (2, 2, 0)
    assert after["bytes"] > before["bytes"]
    assert "4: 2 in both forms, 2 compressed only" in cli("stats").stdout


@pytest.mark.usefixtures("kept")
def test_rm_forgets_by_either_name(cli: Caller, layer: Layer, file: Path) -> None:
    for name in (layer.digest, layer.diff_id):
        assert cli("rm", name).output == ""
        assert cli.lines("ls", "--all") == []
        cli("get", name, code=1)
        cli("put", str(file))


@pytest.mark.usefixtures("kept")
def test_rm_goes_on_when_one_is_not_there(cli: Caller, layer: Layer) -> None:
    assert f"{NOWHERE} is not cached" in cli("rm", NOWHERE, layer.digest, code=1).stderr
    assert cli.lines("ls") == []


@pytest.mark.usefixtures("kept")
def test_rm_removes_from_far_tiers_only_with_all_tiers(
    cli: Caller, layer: Layer, file: Path, tmp_path: Path
) -> None:
    far = Caller(f"file://{tmp_path}/far")
    far("put", str(file))
    cli("rm", layer.digest, "--cache", far.url)
    assert (len(cli.lines("ls")), len(far.lines("ls"))) == (0, 1)
    cli("rm", "--all-tiers", layer.digest, "--cache", far.url)
    assert far.lines("ls") == []
