"""``layercache config``, ``--config`` and ``--cache @NAME``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from layercache.cli.program import program

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from fixtures.calling import Caller
    from servers.images import Layer


def call(*arguments: str, code: int = 0) -> Result:
    called = CliRunner().invoke(program, list(arguments))
    assert called.exit_code == code, called.output
    return called


@pytest.fixture
def named(tmp_path: Path) -> str:
    path = tmp_path / "named.toml"
    path.write_text('[caches.team]\ntiers = ["./team"]\nverify = "always"')
    return str(path)


def test_a_named_cache_is_put_to_and_read(named: str, file: Path, layer: Layer, tmp_path: Path) -> None:
    call("--config", named, "--cache", "@team", "put", str(file))
    assert (tmp_path / "team" / "blobs").is_dir()
    assert call("get", layer.digest, "--cache", "@team", "--config", named).stdout_bytes == layer.blob


def test_the_cache_option_replaces_the_tiers_alone(cli: Caller, named: str) -> None:
    shown = {each["key"]: each for each in cli.json("--config", named, "config", "show")["settings"]}
    assert (shown["tiers[0]"]["value"], shown["tiers[0]"]["from"]) == (cli.url, "--cache")
    call_offline = json.loads(call("--config", named, "config", "show", "--json", "--offline").stdout)
    origins = {each["key"]: each["from"] for each in call_offline["settings"]}
    assert origins["offline"] == "--offline"
    assert origins["caches.team.tiers[0]"] == f"{named}: caches.team.tiers[0]"


def test_config_path_prints_the_file_in_use_and_all_places(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("config", "path", "--config", named).stdout == f"{named}\n"
    monkeypatch.delenv("LAYERCACHE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert call("config", "path", code=1).stdout == ""
    (tmp_path / "layercache.toml").write_text("")
    (tmp_path / "pyproject.toml").write_text("[tool.layercache]")
    told = json.loads(call("config", "path", "--json").stdout)
    assert told["files"] == [str(tmp_path / "layercache.toml")]
    assert [each["state"] for each in told["places"]][:3] == [
        "in use",
        "ignored: another file comes first",
        "absent",
    ]
    assert call("config", "path", "--all").stdout.count("\n") == len(told["places"])


def test_config_check_reports_every_problem_at_once(named: str, tmp_path: Path) -> None:
    assert call("config", "check", named).stdout == f"{named}: OK\n"
    wrong = tmp_path / "layercache.toml"
    wrong.write_text(
        'ofline = 1\ntiers = ["nowhere://x"]\n[registries."a.b"]\ninsecure = true\n[caches.x]\ntiers = [3]'
    )
    said = call("config", "check", str(wrong), code=2).stderr
    keys = ["ofline", 'registries."a.b".insecure', "caches.x.tiers[0]", "tiers[0]"]
    assert [line.split(": ")[2] for line in said.splitlines() if line.startswith("layercache: ")] == keys
    assert "unknown scheme nowhere://" in said
    told = json.loads(call("config", "check", str(wrong), "--json", code=2).stdout)
    assert [each["key"] for each in told["problems"]] == keys


@pytest.mark.parametrize("command", [["ls"], ["config", "show"], ["config", "check"]])
def test_a_wrong_configuration_is_a_usage_error(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("a = \n")
    said = call("--config", str(path), *command, code=2).stderr
    assert said.startswith(f"layercache: {path} is not TOML: ")
    assert "line 1" in said
