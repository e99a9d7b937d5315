"""How the program starts, and what it does not load for that."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import PROGRAM, Caller

from layercache._version import __version__
from layercache.cli.program import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Layer


def loaded_by(*arguments: str) -> set[str]:
    """The modules that are loaded when the program ends."""
    code = (
        "import atexit, sys; sys.argv = ['layercache', *sys.argv[1:]]\n"
        "atexit.register(lambda: print('\\nloaded', *sys.modules, file=sys.stderr))\n"
        "from layercache.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, "LAYERCACHE_CONFIG": ""},
    )
    return set(done.stderr.decode().rpartition("\nloaded ")[2].split())


def test_the_version_is_printed() -> None:
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"layercache {__version__}\n"


def test_the_version_is_printed_after_other_options_too(cli: Caller) -> None:
    assert cli("--version").stdout == f"layercache {__version__}\n"


def test_the_version_loads_next_to_nothing() -> None:
    loaded = loaded_by("--version")
    assert "layercache.cli" in loaded
    assert loaded.isdisjoint({"typing", "click", "rich", "msgspec", "layercache.cli.program"})


def test_reading_a_warm_layer_loads_neither_rich_nor_urllib3(cli: Caller, file: Path, layer: Layer) -> None:
    cli("put", str(file))
    for name in (layer.digest, layer.diff_id):
        loaded = loaded_by("--cache", cli.url, "get", name, "-o", "/dev/null")
        assert "layercache.cli.commands.get" in loaded
        assert loaded.isdisjoint(
            {"rich", "urllib3", "json", "importlib.metadata", "layercache.cli.commands.pull"}
        )
        assert loaded.isdisjoint({"platformdirs", "layercache.config.schema"})


def test_a_pull_without_a_terminal_loads_no_rich(cli: Caller, layout: str) -> None:
    loaded = loaded_by("--cache", cli.url, "pull", layout)
    assert "layercache.cli.commands.pull" in loaded
    assert "rich" not in loaded


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Caller, command: str) -> None:
    for flag in ("--help", "-h"):
        shown = cli(command, flag).stdout
        assert f"Usage: layercache {command}" in shown or f"Usage: program {command}" in shown
        assert "--offline" not in shown, "the program's own help tells of the global options"


def test_the_help_names_the_commands_and_the_exit_codes(cli: Caller) -> None:
    shown = cli("--help").stdout
    assert [command for command in COMMANDS if f"\n  {command} " not in shown] == []
    assert "3    corrupt data" in shown
    assert "..." not in shown.partition("Commands:")[2], "a command's first sentence is short"


def test_global_options_may_stand_behind_the_command(cli: Caller, tmp_path: Path, file: Path) -> None:
    cli("put", str(file))
    far = f"file://{tmp_path}/far"
    Caller(far)("put", "--quiet", str(file))
    before, after = (
        cli.lines("--cache", far, "ls", "--all-tiers"),
        cli.lines("ls", "--all-tiers", "--cache", far),
    )
    assert before == after
    assert [line[-1] for line in after] == [cli.url, far]


@pytest.mark.parametrize("arguments", [["nonsense"], ["ls", "--nonsense"], ["get"], ["--nonsense"]])
def test_a_wrong_command_line_is_a_usage_error(cli: Caller, arguments: list[str]) -> None:
    said = cli(*arguments, code=2).stderr
    assert "Usage: " in said
    assert "--help" in said


def test_shell_completion_works(cli: Caller) -> None:
    done = cli.process(environment={"_LAYERCACHE_COMPLETE": "bash_source"})
    assert b"_layercache_completion" in done.stdout
    done = cli.process(
        environment={"_LAYERCACHE_COMPLETE": "bash_complete", "COMP_WORDS": "layercache p", "COMP_CWORD": "1"}
    )
    assert done.stdout.split() == [b"plain,pull", b"plain,put", b"plain,prune"]
