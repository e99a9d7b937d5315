"""diff: which files differ between two images, by how many bytes, and the exit code of diff(1)."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import table_in
from fixtures.file_images import (
    HOSTILE,
    RELEASE,
    UPPER_RELEASE,
    base_image,
    entry,
    hostile,
    layer_of,
    lower,
    team_image,
    upper,
)
from servers.images import Layer, make_image

if TYPE_CHECKING:
    from fixtures.calling import Caller
    from servers.lying import LyingRegistry


@pytest.fixture
def images(lying: LyingRegistry) -> list[str]:
    """The base image, and the image that is built on it."""
    return [lying.add_image("base", base_image()), lying.add_image("team", team_image())]


def test_what_differs_is_printed_with_its_growth_and_the_code_is_1(cli: Caller, images: list[str]) -> None:
    called = cli("diff", *images, code=1)
    growth = len(UPPER_RELEASE) - len(RELEASE)
    assert [line.split("\t") for line in called.stdout.splitlines()] == [
        ["removed", "-13", "file", "etc/gone"],
        ["added", "+3", "file", "etc/new.conf"],
        ["changed", f"+{growth}", "content", "etc/os-release"],
    ]
    assert called.stderr == f"1 removed, 1 added, 1 changed: +{growth - 10} B\n"
    assert cli("diff", *reversed(images), "--quiet", code=1).stderr == ""


def test_images_with_the_same_files_do_not_differ(
    cli: Caller, lying: LyingRegistry, images: list[str]
) -> None:
    touched = layer_of([entry("etc/gone", b"removed above", mtime=1)])
    same = lying.add_image("same", make_image([lower(), touched]))
    called = cli("diff", images[0], same)
    assert (called.stdout, called.stderr) == ("", "")


def test_globs_choose_what_is_compared(cli: Caller, images: list[str]) -> None:
    assert cli("diff", *images, "*.conf", code=1).stdout == "added\t+3\tfile\tetc/new.conf\n"
    assert cli("diff", *images, "usr/").stdout == ""


def test_layers_can_be_compared(cli: Caller, images: list[str]) -> None:
    cli("pull", "--quiet", *images)
    lines = cli("diff", lower().digest, upper().digest, "*-release", code=1).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["changed"]


def test_json_has_both_sides_and_their_layers(cli: Caller, images: list[str]) -> None:
    lines = cli("diff", *images, "--json", code=1).stdout.splitlines()
    removed, _, changed = map(json.loads, lines)
    assert (removed["change"], removed["new"], removed["old"]["size"]) == ("removed", None, 13)
    assert (changed["changed"], changed["bytes"]) == (["content"], len(UPPER_RELEASE) - len(RELEASE))
    assert [changed[side]["layer"] for side in ("old", "new")] == [lower().digest, upper().digest]


def test_an_image_that_is_not_there_is_2_as_1_means_that_they_differ(
    cli: Caller, images: list[str], lying: LyingRegistry
) -> None:
    called = cli("diff", images[0], f"{lying.host}/app:nowhere", code=2)
    assert called.stdout == ""
    assert "nowhere is not in its registry" in called.stderr
    assert cli("diff", images[0], images[1], "--offline", code=2).stdout == ""
    chart = Layer(b"no tar", b'{"a chart": 1}', "application/vnd.cncf.helm.chart.content.v1")
    cli("diff", images[0], lying.add_image("chart", make_image([chart])), code=2)


def test_hostile_names_are_escaped_or_raw(cli: Caller, images: list[str], lying: LyingRegistry) -> None:
    harmful = lying.add_image("hostile", make_image([lower(), hostile()]))
    printed = cli("diff", images[0], harmful, code=1).stdout
    assert "\x1b" not in printed
    assert all(len(line.split("\t")) == 4 for line in printed.splitlines())
    raw = cli("diff", "--null", images[0], harmful, code=1).stdout_bytes
    assert {os.fsencode(f"hostile/{name}") for name in HOSTILE} < {
        line.split(b"\t", 3)[3] for line in raw.split(b"\0")[:-1]
    }
    cli("diff", "--null", "--json", *images, code=2)


def test_differences_fit_a_terminal(cli: Caller, images: list[str]) -> None:
    code, seen = cli.on_terminal("diff", *images)
    lines = table_in(seen, "CHANGE")
    assert code == 1
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["removed", "-13", "B", "file", "etc/gone"]
