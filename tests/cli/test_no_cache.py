"""A folder that is not a cache: absent, empty, or with other files. None is used by mistake."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from servers.images import Sample, make_layer

import layercache
from layercache.errors import ConfigError
from layercache.tiers.folder import state_of

if TYPE_CHECKING:
    from pathlib import Path

NAME = f"sha256:{'0' * 64}"
READING = (
    ["get", NAME], ["info", NAME], ["ls"], ["images"], ["stats"], ["rm", NAME], ["prune"], ["verify"],
    ["index"], ["export", "alpine", "oci:out"], ["clean", "--yes"], ["compress", NAME, "--as", "zstd"],
    ["explain", NAME],
)  # fmt: skip


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_no_command_but_one_that_stores_takes_a_folder_that_does_not_exist(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called = Caller(f"{tmp_path}/typo")(*command, code=1)
    assert called.stderr.startswith(f"layercache: there is no cache at {tmp_path}/typo yet\n  hint")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", [*READING, ["put", "-"], ["pull", "alpine"]], ids=lambda each: each[0])
def test_a_folder_with_other_files_is_never_taken_for_a_cache(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "file").touch()
    called = Caller("notes")(*command, code=2)
    assert f"{tmp_path}/notes holds files and is not a cache" in called.stderr
    assert os.listdir(tmp_path / "notes") == ["file"]
    with pytest.raises(ConfigError, match="is not a cache"):
        layercache.open(tmp_path / "notes")


def test_copy_makes_no_cache_among_other_files(cli: Caller, file: Path, tmp_path: Path) -> None:
    cli("put", str(file))
    assert "is not a cache" in cli("copy", cli.url, str(tmp_path), code=2).stderr


def test_an_empty_folder_and_the_users_own_before_its_first_use_are_empty_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "layers").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for folder in (tmp_path / "layers", tmp_path / "layercache"):
        for command in ("ls", "images", "stats"):
            called = Caller(str(folder))(command)
            assert f"the cache {folder} is empty; layercache pull IMAGE" in called.stderr
        assert Caller(str(folder))("ls", "--quiet").output == ""
    assert not (tmp_path / "layercache").exists()


def test_a_near_folder_that_is_new_is_no_obstacle_to_what_a_far_tier_has(file: Path, tmp_path: Path) -> None:
    with layercache.open([tmp_path / "near", tmp_path / "far"]) as cache:
        layer = cache.put(file)
    caller = Caller(f"{tmp_path}/new")
    assert caller("--cache", f"{tmp_path}/far", "get", str(layer.digest)).stdout_bytes == file.read_bytes()


def test_what_a_killed_writer_or_another_tool_left_is_a_cache(tmp_path: Path, sample: Sample) -> None:
    def state(*names: str) -> str:
        folder = tmp_path / "-".join(names).replace("/", "_")
        for name in names:
            (folder / name).mkdir(parents=True)
        return state_of(str(folder))

    assert state_of(str(tmp_path / "nowhere")) == "absent"
    assert state("tmp", "locks") == "cache"
    assert state("blobs", "tmp") == "cache"
    assert state("blobs/sha256", "something else") == "cache"
    assert state("records", "README") == "cache"
    assert state("lost+found") == "cache"
    assert state("images") == "other", "a folder of pictures, say"
    assert state("blobs", "README") == "other"
    assert state(".git") == "other"
    assert state_of(str(sample.layout)) == "cache"


def test_a_cache_that_another_process_begins_meanwhile_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.listdir

    def begun_before(folder: str) -> list[str]:
        (tmp_path / "records").mkdir()
        return listed(folder)

    monkeypatch.setattr(os, "listdir", begun_before)
    assert state_of(str(tmp_path)) == "cache"


def test_a_layout_of_another_tool_is_read(sample: Sample) -> None:
    assert len(Caller(f"file://{sample.layout}?readonly=true").lines("images")) == 2


def test_a_bare_name_is_a_folder_if_it_exists_or_ends_in_a_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tar = make_layer({"x": b"y"}).tar
    assert "or a path: ./layers" in Caller("layers")("put", "-", stdin=tar, code=2).stderr
    Caller("layers/")("put", "-", stdin=tar)
    assert len(Caller("layers").lines("ls")) == 1
    (tmp_path / "a").mkdir()
    Caller("a/b/")("put", "-", stdin=tar)
    assert len(Caller("a/b").lines("ls")) == 1
    (tmp_path / "x.toml").write_text('tiers = ["layers", "new/"]')
    monkeypatch.chdir("/")
    with layercache.open(config=tmp_path / "x.toml") as cache:
        assert [tier.name for tier in cache.tiers] == [
            f"file://{tmp_path}/{each}" for each in ("layers", "new")
        ]


def test_a_tilde_is_the_home_folder_wherever_a_path_can_stand(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layer").write_bytes(make_layer({"x": b"y"}).tar)
    for url in ("~/one", "file://~/two", "file://~/three?keep=both"):
        Caller(url)("put", "~/layer")
        name = Caller(url).lines("ls")[0][0]
        Caller(url)("get", name, "-o", "~/out")
        assert (tmp_path / "out").read_bytes() == (tmp_path / "layer").read_bytes()
    (tmp_path / "home.toml").write_text("tiers = ['file://~/one']\n[caches.x]\ntiers = ['~/two']")
    assert Caller("@x").lines("--config=~/home.toml", "ls")
    monkeypatch.setenv("LAYERCACHE_CONFIG", "~/home.toml")
    with layercache.open() as cache:
        assert cache.tiers[0].name == f"file://{tmp_path}/one"
    (tmp_path / "layout").symlink_to(sample.layout)
    Caller("~/one")("pull", "oci:~/layout:image")
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("url", ["file:///~/x", "file://localhost/~/x", "file:///~", "/~/x", "file:///~me/x"])
def test_a_folder_called_tilde_in_the_root_is_refused_with_what_was_meant(url: str) -> None:
    called = Caller(url)("put", "/dev/null", code=2)
    meant = url.removeprefix("file://").removeprefix("localhost").removeprefix("/")
    assert f"write file://{meant} or {meant}" in called.stderr
