"""help, suggestions for wrong commands, and completion in a real shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import PROGRAM, Caller
from servers.programs import requires

from layercache.cli.suggestions import MEANT

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.lying import LyingRegistry


def test_help_prints_what_the_option_prints(cli: Caller) -> None:
    for names in ([], ["pull"], ["config", "show"]):
        assert cli("help", *names).stdout == cli(*names, "--help").stdout


@pytest.mark.parametrize("names", [["nonsense"], ["config", "nonsense"], ["ls", "nonsense"]])
def test_help_of_what_is_not_a_command_is_a_usage_error(cli: Caller, names: list[str]) -> None:
    assert "nonsense" in cli("help", *names, code=2).stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["pul"], "pull"),
        (["PULL"], "pull"),
        (["list"], "ls"),
        (["inspect"], "info"),
        (["rmi"], "rm"),
        (["config", "chek"], "check"),
        (["help", "verifi"], "verify"),
    ],
)
def test_a_wrong_command_names_the_one_that_was_meant(cli: Caller, typed: list[str], meant: str) -> None:
    assert f"{typed[-1]!r}. Did you mean {meant}" in cli(*typed, code=2).stderr


def test_a_command_that_is_like_no_other_gets_no_suggestion(cli: Caller) -> None:
    assert "Did you mean" not in cli("zzzzzz", code=2).stderr


def test_each_suggestion_for_other_tools_words_is_a_command(cli: Caller) -> None:
    known = cli("--help").stdout
    assert [meant for meant in MEANT.values() if f"  {meant}" not in known] == []


def complete(line: str, *, folder: Path, cache: str) -> list[str]:
    """What bash offers for a line, with the cursor at its end; by the script that `completion` prints."""
    requires("bash")
    (folder / "bin").mkdir(exist_ok=True)
    launcher = folder / "bin" / "layercache"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    launcher.chmod(0o755)
    # readline takes ":" and "@" for the ends of words, as its default COMP_WORDBREAKS has them.
    script = f"""
        eval "$(layercache completion bash)"
        COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}
        _layercache_completion layercache
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "LAYERCACHE_URL": cache},
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_images_and_hashes(
    cli: Caller, tmp_path: Path, lying: LyingRegistry, sample: Sample
) -> None:
    name = lying.add_image("1.0", sample.image)
    cli("pull", name)
    before = len(lying.requests)

    def offered(line: str) -> list[str]:
        return complete(line, folder=tmp_path, cache=cli.url)

    assert offered("layercache pu") == ["pull", "put"]
    assert offered("layercache pull --platf") == ["--platform"]
    assert offered("layercache pull --form=comp") == ["compressed"]
    # The rest of the name, from the last ":" on: bash replaces only that.
    assert offered(f"layercache export {name[:-5]}") == [name.rpartition(":")[0].rpartition(":")[2] + ":1.0"]
    for command in ("info", "files", "cat", "extract", "diff", "find"):
        assert offered(f"layercache {command} {name[:-1]}") == ["1.0"]
    digest = sample.image.layers[0].digest
    assert offered(f"layercache get {digest.hex[:10]}") == [digest.hex]
    assert offered(f"layercache get {digest[:17]}") == [digest.hex]
    assert offered(f"layercache tags {lying.host[:-1]}") == [f"{lying.host.partition(':')[2]}/app"]
    assert len(lying.requests) == before, "completion contacts nobody"


def test_completion_of_a_cache_far_away_or_broken_offers_nothing(
    tmp_path: Path, lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    far = f"s3://bucket/x?endpoint_url=http://{lying.host}"
    for cache in (far, f"oci://{lying.host}/cache", f"file://{tmp_path}/file", "nonsense://x"):
        assert complete("layercache export a", folder=tmp_path, cache=cache) == []
    assert not lying.requests


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_names_the_program(cli: Caller, shell: str) -> None:
    script = cli("completion", shell).stdout
    assert f"_LAYERCACHE_COMPLETE={shell}_complete" in script
    assert "layercache" in script


def test_completion_of_an_unknown_shell_is_a_usage_error(cli: Caller) -> None:
    assert "bash" in cli("completion", "tcsh", code=2).stderr
