"""docs/cli.md: its examples run as they stand, and it leaves no option out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from layercache.cli.program import COMMANDS, program
from layercache.demo.image import build_image
from layercache.demo.registry import LayoutRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
END = "---- the end of a command"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LayoutRegistry]:
    build_image(str(tmp_path / "image"))
    with LayoutRegistry(str(tmp_path / "image")) as running:
        yield running


def examples() -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, and what it is shown to print."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


def pattern(printed: str) -> str:
    """``…`` stands for anything; a line that is nothing else for any number of lines."""
    lines = [
        r"(.*\n)*" if line == "…\n" else ".*".join(map(re.escape, line.split("…")))
        for line in printed.splitlines(keepends=True)
    ]
    return "".join(lines)


def test_the_examples_print_what_is_shown(registry: LayoutRegistry, tmp_path: Path) -> None:
    wanted = list(examples())
    script = "".join(f"{command}\ncode=$?; echo {shlex.quote(END)}; (exit $code)\n" for command, _ in wanted)
    (tmp_path / "bin").mkdir()
    launcher = tmp_path / "bin" / "layercache"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m layercache "$@"\n')
    launcher.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", script.replace("localhost:5000", registry.host)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=110,
        env={
            **os.environ,
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "LAYERCACHE_URL": f"file://{tmp_path}/cache",
            "HOME": str(tmp_path),
            "LAYERCACHE_CONFIG": "",
        },
    )
    printed = done.stdout.replace(registry.host, "localhost:5000").split(f"{END}\n")
    assert len(printed) == len(wanted) + 1, done.stdout
    for (command, shown), found in zip(wanted, printed, strict=False):
        assert re.fullmatch(pattern(shown), found), f"$ {command}\n{found}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_told(name: str) -> None:
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    command = program.get_command(click.Context(program), name)
    assert section
    assert command is not None
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    params = [param for each in commands for param in each.params]
    shown = [param for param in params if isinstance(param, click.Option) and not param.hidden]
    assert [option for param in shown for option in param.opts if f"`{option}" not in section] == []


def test_every_global_option_is_told() -> None:
    section = PAGE.partition("\n## Global options\n")[2].partition("\n## ")[0]
    assert [option for param in program.params for option in param.opts if f"`{option}" not in section] == []
