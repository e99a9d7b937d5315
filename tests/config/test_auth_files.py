"""Which files of credentials count, by the variables that name them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from layercache.config.opening import load

if TYPE_CHECKING:
    from pathlib import Path


def files() -> list[str]:
    return load().registries().auth_paths


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")


def test_podmans_files_come_before_dockers_as_containers_auth_json_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    home = [
        "/home/me/.config/containers/auth.json",
        "/home/me/.docker/config.json",
        "/home/me/.dockercfg",
    ]
    assert files() == ["/run/user/1/containers/auth.json", *home]
    monkeypatch.setenv("XDG_CONFIG_HOME", "/settings")
    monkeypatch.setenv("DOCKER_CONFIG", "/docker")
    assert files() == [
        "/run/user/1/containers/auth.json",
        "/settings/containers/auth.json",
        "/docker/config.json",
        "/home/me/.dockercfg",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="podman has that folder on Linux alone")
@pytest.mark.parametrize("runtime", [None, ""])
def test_without_a_run_time_folder_it_is_the_users_below_run(
    runtime: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert files()[0] == f"/run/containers/{os.getuid()}/auth.json"


def test_a_named_file_is_the_only_one_read_even_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/docker")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/absent.json")
    assert files() == ["/absent.json"]
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "")
    assert "/docker/config.json" in files()


def test_without_a_home_no_folder_of_the_current_one_is_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """expanduser leaves "~" as it is where nobody knows the home: a folder of that name may be anybody's."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setenv("LAYERCACHE_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    assert [path for path in files() if not path.startswith("/run/")] == []
    monkeypatch.setenv("DOCKER_CONFIG", "/docker")
    assert "/docker/config.json" in files()
