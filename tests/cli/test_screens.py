"""How screens look: names first and whole, lines that fit, words that are not broken, colours if wanted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner
from fixtures.calling import PROGRAM, Caller, on_terminal
from servers.archives import write_legacy_archive
from servers.images import make_image, make_layer, noise
from servers.lying import LyingRegistry

from layercache.cli import exit_codes
from layercache.cli.program import COMMANDS, GROUPS, program
from layercache.cli.table import Column, Layout, Lines, fold
from layercache.cli.terminal import wrapped
from layercache.units import age_text, parse_size, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = """\
layercache: the bytes of sha256:0123 have another hash than the manifest states for them, so none is kept
  hint       pull the image again, and file a bug with its registry if that happens for the second time"""


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


@pytest.fixture
def image(registry: LyingRegistry) -> str:
    return registry.add_image("1", make_image([make_layer({"noise": noise(3000)})]))


@pytest.mark.parametrize("columns", [40, 80, 100, 160])
def test_words_are_wrapped_whole_below_the_text_of_their_line(columns: int) -> None:
    lines = wrapped(TEXT, columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert " ".join(" ".join(lines).split()) == " ".join(TEXT.split())
    hint = next(number for number, line in enumerate(lines) if line.startswith("  hint"))
    assert all(line.startswith(" " * 13) and line[13] != " " for line in lines[hint + 1 :])


def test_a_hash_begins_a_line_that_it_fits_into() -> None:
    lines = wrapped(f"  ok       image          12 ms, sha256:{'0' * 64}", 80).splitlines()
    assert lines[1].strip() == f"sha256:{'0' * 64}"
    assert max(map(len, lines)) <= 80


def test_a_text_is_folded_behind_spaces_slashes_and_commas() -> None:
    assert fold("s3://team-layers/prod/x86", 18) == ["s3://team-layers/", "prod/x86"]
    assert fold("linux/amd64,linux/arm64", 12) == ["linux/amd64,", "linux/arm64"]
    assert fold("x" * 30, 10) == ["x" * 30]


@pytest.mark.parametrize("columns", [40, 80, 160])
@pytest.mark.parametrize("length", [10, 38, 70])
def test_a_name_is_whole_at_any_width(monkeypatch: pytest.MonkeyPatch, columns: int, length: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    titles = (Column("DIGEST", optional=True), Column("SIZE", right=True), Column("WHERE"))
    row = ("0" * 12, "12.3 MB", "s3://team-layers/prod/linux/amd64", "n" * length)
    layout = Layout.of([*titles, Column("IMAGE", name=True)], [row])
    lines = layout.lines(row)
    assert lines[0].startswith("n" * length)
    assert max(map(len, lines)) <= max(columns, length)
    joined = "".join("".join(lines).split())
    assert "12.3MB" in joined


def test_images_begin_with_their_whole_names_and_show_ages(cli: Caller, image: str) -> None:
    cli("pull", image)
    code, seen = cli.on_terminal("images")
    assert code == 0
    header, line = click.unstyle(seen).splitlines()
    assert header.split()[0] == "IMAGE"
    assert line.startswith(image)
    assert re.search(r"now|seconds? ago", line)
    assert re.search(r"\t20\d\d-\d\d-\d\dT[0-9:]+Z\t", cli("images").stdout)


def test_images_of_one_pull_are_set_apart_below_one_header(cli: Caller, registry: LyingRegistry) -> None:
    names = [
        registry.add_image(str(n), make_image([make_layer({"noise": noise(3000, n)})])) for n in range(2)
    ]
    code, seen = cli.on_terminal("pull", *names)
    lines = click.unstyle(seen.rpartition("\x1b[2K")[2]).splitlines()
    assert code == 0
    assert sum(line.startswith("DIGEST") for line in lines) == 1
    assert lines[lines.index(f"{names[1]}  linux/amd64") - 1] == ""


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_are_shown_on_a_terminal_unless_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = environment.get("TERM", "xterm-256color")
    command = [*PROGRAM, "--cache", f"file://{tmp_path}", "doctor"]
    code, seen = on_terminal(command, terminal=terminal)
    assert code == 0
    assert ("\x1b[38;5;28mok" in seen) is coloured
    assert "ok" in seen


def test_colours_can_be_forced_into_a_pipe(cli: Caller) -> None:
    assert "\x1b" not in cli.process("get", "123456").stderr.decode()
    assert "\x1b[" in cli.process("get", "123456", environment={"FORCE_COLOR": "1"}).stderr.decode()


def test_the_help_has_each_command_in_one_group_and_every_exit_code() -> None:
    shown = CliRunner().invoke(program, ["--help"], terminal_width=80).output
    for title in GROUPS:
        assert f"\n{title}:\n" in shown
    assert len(COMMANDS) == len(set(COMMANDS))
    assert re.findall(r"^  ([a-z]+)  ", shown, re.MULTILINE) == list(COMMANDS)
    codes = [value for name, value in vars(exit_codes).items() if name.isupper()]
    for code in [0, *codes]:
        assert re.search(rf"^    {code} ", shown, re.MULTILINE), code
    assert max(map(len, shown.splitlines())) <= 80


def test_ls_begins_with_what_was_used_last(cli: Caller, tmp_path: Path) -> None:
    digests = []
    for number in range(3):
        file = tmp_path / f"{number}.tar.gz"
        layer = make_layer({"number": b"%d" % number})
        file.write_bytes(layer.blob)
        cli("put", str(file))
        digests.append(layer.digest)
    lines = cli.lines("ls")
    assert {line[0] for line in lines} == set(digests)
    used = [line[4] for line in lines]
    assert used == sorted(used, reverse=True)


@pytest.mark.parametrize("size", [0, 999, 1000, 1024, 1536, 20 * 10**9, 64 << 30, 3 << 40])
def test_a_size_is_written_without_loss(size: int) -> None:
    assert parse_size(size_text(size)) == size


def test_seconds_are_written_with_their_unit() -> None:
    assert [age_text(each) for each in (10.0, 0.5, 90, 5400, 86400 * 30)] == [
        "10 s",
        "0.5 s",
        "90 s",
        "90 min",
        "30 d",
    ]


def test_a_usage_error_is_wrapped_between_words(cli: Caller) -> None:
    code, seen = cli.on_terminal("get", "123456")
    lines = click.unstyle(seen).splitlines()
    assert code == 2
    assert max(map(len, lines)) <= 80
    assert "use -o FILE (or -o - to force it)" in " ".join(lines)


EVIL = "\x1b]0;owned\x07\x9b31m"


def test_names_out_of_an_archive_cannot_control_the_terminal(cli: Caller, tmp_path: Path) -> None:
    images = {f"{EVIL}a:1": make_image([make_layer({"a": b"1"})]), "b:1": make_image([])}
    path = write_legacy_archive(tmp_path / "images.tar", images)
    said = cli("pull", f"docker-archive:{path}", code=4).stderr
    assert "]0;owned" in said
    assert not set(said) & set(EVIL[:1] + "\x07\x9b")


@pytest.mark.parametrize("whole", [False, True])
def test_cells_and_headings_cannot_control_the_terminal_nor_be_taken_for_several(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], whole: bool
) -> None:
    monkeypatch.setattr("layercache.cli.table.is_terminal", lambda: True)
    with Lines([Column("A"), Column("B")], whole=whole) as lines:
        lines.heading(f"heading{EVIL}")
        lines.add(f"linux/{EVIL}", "x\ty\nz")
    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\x9b")
    assert "x y z" in printed
    assert not whole or printed.count("\t") == printed.count("\n") == 1
