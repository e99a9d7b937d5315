"""find: many images at once, from the command line and from files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import table_in
from fixtures.file_images import HOSTILE, base_image, entry, hostile, layer_of, lower, team_image, upper
from servers.images import Layer, make_image

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.lying import LyingRegistry


@pytest.fixture
def images(lying: LyingRegistry) -> list[str]:
    """The base image, and the image that is built on it."""
    return [lying.add_image("base", base_image()), lying.add_image("team", team_image())]


def test_each_image_is_printed_with_each_path_that_matches(cli: Caller, images: list[str]) -> None:
    base, team = images
    assert cli.lines("find", *images, "--name", "*.conf", "--name", "/etc/gone") == [
        [base, "etc/gone"],
        [base, "usr/share/deep.conf"],
        [team, "etc/new.conf"],
        [team, "usr/share/deep.conf"],
    ]


def test_images_come_from_lists_and_patterns_too(cli: Caller, images: list[str], tmp_path: Path) -> None:
    listed = tmp_path / "images.txt"
    listed.write_text(f"# ours\n{images[1]}\n")
    assert cli.lines("find", "--from", str(listed), "--name", "new.conf") == [[images[1], "etc/new.conf"]]
    called = cli("find", "--from", "-", "--name", "new.conf", stdin=listed.read_bytes())
    assert called.stdout == f"{images[1]}\tetc/new.conf\n"


def test_a_layer_that_images_share_is_fetched_once(
    cli: Caller, images: list[str], lying: LyingRegistry
) -> None:
    cli("find", *images, "--name", "*.conf")
    assert len(lying.asked(f"GET /v2/app/blobs/{lower().digest}")) == 1
    before = len(lying.asked("/blobs/"))
    cli("find", *images, "--name", "*.conf")
    assert len(lying.asked("/blobs/")) == before, "the indexes are cached"


def test_the_long_form_and_json_name_the_layer(cli: Caller, images: list[str]) -> None:
    base, team = images
    long = cli.lines("find", *images, "--long", "--name", "os-release")
    assert [(line[0], line[5], line[6]) for line in long] == [
        (base, lower().digest, "etc/os-release"),
        (team, upper().digest, "etc/os-release"),
    ]
    documents = [
        json.loads(line)
        for line in cli("find", *images, "--json", "--name", "os-release").stdout.splitlines()
    ]
    assert [(each["image"], each["layer"]) for each in documents] == [
        (base, lower().digest),
        (team, upper().digest),
    ]
    assert documents[0]["digest"] == base_image().descriptor.digest
    code, seen = cli.on_terminal("find", *images, "--long", "--name", "*.conf")
    lines = table_in(seen, base)
    assert code == 0
    assert [lines[0], lines[4]] == [base, team]
    assert lines[1].split() == ["MODE", "OWNER", "SIZE", "TIME", "LAYER", "PATH"]


def test_an_image_that_fails_does_not_stop_the_others(
    cli: Caller, images: list[str], lying: LyingRegistry
) -> None:
    chart = Layer(b"no tar", b'{"a chart": 1}', "application/vnd.cncf.helm.chart.content.v1")
    artefact = lying.add_image("chart", make_image([chart]))
    nowhere = f"{lying.host}/app:nowhere"
    called = cli("find", artefact, nowhere, *images, "--name", "passwd", code=1)
    assert called.stdout.splitlines() == [f"{image}\tetc/passwd" for image in images]
    assert nowhere in called.stderr
    assert f"layercache: {artefact}: " in called.stderr
    cli("find", artefact, images[0], "--name", "passwd", code=2)


def test_nothing_found_is_not_found(cli: Caller, images: list[str]) -> None:
    called = cli("find", *images, "--name", "*.exe", code=1)
    assert (called.stdout, called.stderr) == ("", "layercache: no file in 2 images matches *.exe\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "x"], "Missing argument 'IMAGE...'"),
        (["IMAGE"], "Missing option '--name'"),
        (["IMAGE", "--name", "x", "--null", "--json"], "leave out --long and --json"),
        (["--from", "EMPTY", "--name", "x"], "no image is listed in"),
    ],
)
def test_a_wrong_command_line_says_what_is_missing(
    cli: Caller, images: list[str], arguments: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    here = {"IMAGE": images[0], "EMPTY": str(tmp_path / "empty")}
    assert said in cli("find", *[here.get(each, each) for each in arguments], code=2).stderr


def test_hostile_names_are_escaped_or_raw(cli: Caller, lying: LyingRegistry) -> None:
    image = lying.add_image("hostile", make_image([hostile()]))
    printed = cli("find", image, "--name", "hostile/").stdout
    assert all(len(line.split("\t")) == 2 for line in printed.splitlines())
    assert "\x1b" not in printed
    raw = cli("find", image, "--null", "--name", "hostile/").stdout_bytes.split(b"\0")
    prefix = image.encode() + b"\thostile/"
    assert {prefix + os.fsencode(name) for name in HOSTILE} < set(raw)


def test_find_ends_quietly_when_nobody_reads_on(cli: Caller, lying: LyingRegistry) -> None:
    many = layer_of([entry(f"{'long' * 20}/{number}") for number in range(1000)])
    image = lying.add_image("many", make_image([many]))
    with cli.begin("find", image, "--name", "*") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(image.encode())
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_offline_pulled_images_are_searched(cli: Caller, images: list[str], lying: LyingRegistry) -> None:
    cli("pull", "--quiet", *images)
    before = len(lying.requests)
    assert len(cli.lines("find", "--offline", *images, "--name", "passwd")) == 2
    assert len(lying.requests) == before
