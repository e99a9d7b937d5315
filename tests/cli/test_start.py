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


def loaded_by(*arguments: str, **environment: str) -> set[str]:
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
        cwd=os.sep,  # our own pyproject.toml would be parsed as a configuration
        env={**os.environ, "LAYERCACHE_CONFIG": "", **environment},
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


# What takes long to import, and what only fetching, writing, listing or configuring needs.
HEAVY = frozenset(
    [
        "asyncio",
        "concurrent.futures",
        "dataclasses",
        "email",
        "hashlib",
        "http.client",
        "importlib.metadata",
        "json",
        "logging",
        "platformdirs",
        "queue",
        "random",
        "rich",
        "shutil",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "tomllib",
        "traceback",
        "typing_extensions",
        "urllib3",
    ]
)
CORE_OF_OTHERS = frozenset(
    f"layercache.{name}"
    for name in [
        "config.registries",
        "config.schema",
        "images.opening",
        "registry.client",
        "resolver.ingest",
        "resolver.stage",
        "resolver.lease_renewal",
        "sources.registry",
        "streams.compress",
        "tiers.eviction",
        "tiers.layout.tier",
        "transfer.transfer",
    ]
)

OWN_MODULES = 98
"""Modules of ours that reading a warm layer may load. Each costs a hundredth of the interpreter's start."""

NOT_TO_READ = frozenset(
    [
        *["click", "gettext", "locale", "msgspec.inspect", "shlex", "textwrap", "zlib"],
        *(
            f"layercache.{name}"
            for name in [
                "cli.failures",
                "cli.program",
                "resolver.bringing",
                "resolver.fetch",
                "sources",
                "streams.inflate",
                "tiers.guard",
                "tiers.removal",
                "transfer.finisher",
                "transfer.follower",
            ]
        ),
        *["inspect", "ipaddress", "platform", "urllib", "weakref"],
        "layercache_backends.local.lock",
        "layercache_backends.local.spool",
    ]
)
"""What parses other command lines, writes, brings or inflates."""


def test_reading_a_warm_layer_loads_only_what_it_uses(cli: Caller, file: Path, layer: Layer) -> None:
    cli("put", str(file))
    for name in (layer.digest, layer.diff_id):
        loaded = loaded_by("--cache", cli.url, "get", name, "--output", "/dev/null")
        check_loaded_to_read(loaded)


def test_options_of_the_cache_load_nothing_more(cli: Caller, file: Path, layer: Layer) -> None:
    cli("put", str(file))
    url = f"{cli.url}?sync=false&max_size=5GB"
    check_loaded_to_read(loaded_by("--cache", url, "get", layer.diff_id, "--output", "/dev/null"))


def test_nor_does_the_cache_that_is_used_by_default(tmp_path: Path, file: Path, layer: Layer) -> None:
    """It has an option, ``max_size``."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    loaded_by("put", str(file), **home)
    check_loaded_to_read(loaded_by("get", layer.diff_id, "--output", "/dev/null", **home))


def check_loaded_to_read(loaded: set[str]) -> None:
    assert "layercache.cli.layer_output" in loaded
    assert sorted(loaded & (HEAVY | CORE_OF_OTHERS | NOT_TO_READ)) == []
    own = {each for each in loaded if each.startswith("layercache")}
    assert len(own) <= OWN_MODULES


def test_a_warm_layer_that_is_looked_at_only_by_its_size_is_not_hashed(
    cli: Caller, file: Path, layer: Layer
) -> None:
    """OpenSSL is loaded by what hashes: with verify="always" a warm layer still is."""
    cli("put", str(file))
    arguments = ("--cache", cli.url, "get", layer.diff_id, "--output", "/dev/null")
    assert "hashlib" not in loaded_by(*arguments)
    assert "hashlib" in loaded_by(*arguments, LAYERCACHE_VERIFY="always")


def test_what_was_left_out_of_msgspec_is_there_for_those_who_use_it() -> None:
    code = (
        "import sys\n"
        "from layercache.cli.loading import load_msgspec\n"
        "load_msgspec()\n"
        "import msgspec\n"
        "later = {'msgspec.inspect', 'textwrap'}\n"
        "assert later.isdisjoint(sys.modules)\n"
        "class Known(msgspec.Struct):\n"
        "    'A type\\n    with a description.'\n"
        "described = msgspec.json.schema(Known)['$defs']['Known']['description']\n"
        "assert 'A type' in described, described\n"
        "assert later <= set(sys.modules)\n"
        "assert isinstance(msgspec.inspect.type_info(int), msgspec.inspect.IntType)\n"
        "assert not hasattr(msgspec.inspect, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("command", [("ls",), ("ls", "--json"), ("stats",), ("images",), ("info", "HASH")])
def test_looking_at_a_cache_loads_no_more_than_it_needs(
    cli: Caller, file: Path, layer: Layer, command: tuple[str, ...]
) -> None:
    cli("put", str(file))
    arguments = [each.replace("HASH", layer.digest) for each in command]
    loaded = loaded_by("--cache", cli.url, *arguments)
    assert f"layercache.cli.commands.{command[0]}" in loaded
    needed = {"json"} if "--json" in command else set()
    assert sorted(loaded & (HEAVY | CORE_OF_OTHERS) - needed - {"dataclasses"}) == []


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["get", "--help"]])
def test_help_does_not_load_the_core(arguments: list[str]) -> None:
    loaded = loaded_by(*arguments)
    assert "layercache.cli.program" in loaded
    heavy = HEAVY - {"dataclasses", "shutil"}  # of other commands' modules; the width of the terminal
    assert sorted(loaded & heavy) == []
    assert loaded.isdisjoint({"layercache.cache", "layercache.config.configuration"})


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


@pytest.mark.parametrize("waits", [True, False])
def test_the_process_ends_at_once_but_not_before_threads_and_what_was_registered_for_its_end(
    cli: Caller, file: Path, layer: Layer, waits: bool
) -> None:
    cli("put", str(file))
    code = (
        "import atexit, os, sys, threading\n"
        "class Freed:\n"
        "    def __del__(self, write=os.write): write(1, b'freed ')\n"
        "sys.kept = Freed()\n"
        "atexit.register(lambda: print('registered'))\n"
        "work = lambda: (threading.main_thread().join(), print('thread', flush=True))\n"
        f"threading.Thread(target=work, daemon={not waits}).start()\n"
        "from layercache.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "--cache", cli.url, "get", "--output", "/dev/null", layer.digest]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said = done.stdout.split()
    assert "registered" in said
    assert ("thread" in said) == waits
    assert ("freed" in said) == waits


@pytest.mark.skipif(sys.platform != "linux", reason="uuid is imported as usual")
@pytest.mark.parametrize(
    ("uuid", "is_early"),
    [
        ("import platform; NAME = platform.system()", True),
        ("import platform; NAME = platform.node()", False),
        ("from platform import node; NAME = node()", False),
    ],
)
def test_a_uuid_that_wants_more_of_platform_is_imported_as_usual(
    tmp_path: Path, uuid: str, is_early: bool
) -> None:
    (tmp_path / "uuid.py").write_text(uuid)
    code = (
        "import sys; from layercache.cli import loading; loading.load_uuid()\n"
        "early = 'uuid' in sys.modules\n"
        "import platform, uuid; print(early, uuid.NAME in (platform.system(), platform.node()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == (f"{is_early} True\n", "")
