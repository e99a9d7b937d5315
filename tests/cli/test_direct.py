"""What is understood without click means the same to click."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from layercache.cli import direct, layer_output
from layercache.cli.direct import understood
from layercache.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.cli.session import Session

HASH = f"sha256:{'0' * 64}"

Meant = tuple[Any, ...]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Meant]:
    """What layers would be written, and how."""
    found: list[Meant] = []

    def record(session: Session, hash: str, output: str | None, form: str | None) -> None:
        options = (session.urls, session.config, session.offline, session.strict)
        found.append((*options, session.quiet, session.verbose, hash, output, form))

    monkeypatch.setattr(layer_output, "write_layer", record)
    monkeypatch.setattr(direct, "write_layer", record)
    return found


PLAIN = [
    ["get", HASH],
    ["get", "0123456789ab"],
    ["get", HASH, "-o", "file"],
    ["get", "-o", "-", HASH],
    ["get", "--output=~/file", HASH, "--form", "compressed"],
    ["get", HASH, "--form=uncompressed", "--output", "file"],
    ["--cache", "one", "get", "--cache=two", HASH, "--cache", "three"],
    ["-q", "--config", "file", "--offline", "get", HASH, "--strict", "-v"],
    ["get", HASH, "-o", "first", "-o", "last"],
]


@pytest.mark.parametrize("arguments", PLAIN)
def test_the_plain_form_is_understood_without_click(arguments: list[str], written: list[Meant]) -> None:
    work = understood(arguments)
    assert work is not None
    assert work() == 0
    assert CliRunner().invoke(program, arguments).exit_code == 0
    mine, clicks = written
    assert mine == clicks


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["get"],
        ["get", HASH, HASH],
        ["get", HASH, "--help"],
        ["get", HASH, "-o"],
        ["get", HASH, "-o", "--form"],
        ["get", HASH, "-o="],
        ["get", HASH, "--output="],
        ["get", HASH, "-ofile"],
        ["get", HASH, "--form", "tar"],
        ["get", HASH, "--quiet=yes"],
        ["get", HASH, "-qv"],
        ["get", HASH, "--nonsense"],
        ["get", "--", HASH],
        ["-o", "file", "get", HASH],
        ["ls", "get"],
        ["--cache", "get", HASH],
    ],
)
def test_everything_else_is_left_to_click(arguments: list[str]) -> None:
    assert understood(arguments) is None


TOKENS = st.sampled_from(
    [
        *["get", "ls", HASH, "0123456789ab", "file", "-", "--", "", "="],
        *["-o", "--output", "--output=file", "-o=file", "-ofile", "--out", "--form", "--form=compressed"],
        *["compressed", "uncompressed", "--cache", "--cache=url", "--cache=", "--config", "--config=file"],
        *["--offline", "--strict", "--quiet", "-q", "--verbose", "-v", "-qv", "--quiet=1", "--help", "-h"],
    ]
)


@settings(max_examples=300)
@given(before=st.lists(TOKENS, max_size=3), after=st.lists(TOKENS, max_size=6))
def test_what_is_understood_means_the_same_to_click(
    before: Sequence[str], after: Sequence[str], written: list[Meant]
) -> None:
    arguments = [*before, "get", *after]
    written.clear()
    if (work := understood(arguments)) is None:
        return
    assert work() == 0
    assert CliRunner().invoke(program, arguments).exit_code == 0, arguments
    mine, clicks = written
    assert mine == clicks, arguments


def test_a_home_folder_is_expanded_as_click_has_it(written: list[Meant]) -> None:
    work = understood(["get", HASH, "--output=~/file"])
    assert work is not None
    work()
    assert written[0][-2] == os.path.expanduser("~/file")
