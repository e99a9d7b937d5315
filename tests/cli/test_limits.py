"""The limit of a cache: the default one, and what a pull does that comes near it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import PROGRAM, Caller
from servers.images import make_image, make_layer, noise

from layercache.config import default_cache
from layercache.config.setting import Setting

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import LyingRegistry

KB = 1000


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program without any configuration, for a user with this home."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LAYERCACHE_CONFIG": os.devnull}
    return subprocess.run(
        [*PROGRAM, *arguments], env=environment, check=True, capture_output=True, text=True, timeout=60
    )


def test_the_users_own_folder_has_a_limit_which_is_stated_once_and_shown(tmp_path: Path, file: Path) -> None:
    disk = os.statvfs(tmp_path)
    limit = min(20 * 10**9, disk.f_blocks * disk.f_frsize // 10)
    first, second = run(tmp_path, "put", str(file)), run(tmp_path, "put", str(file))
    assert f"created the cache {tmp_path}/.cache/layercache; it keeps up to " in first.stderr
    assert second.stderr == ""
    assert "limits" in run(tmp_path, "stats").stdout
    tier, size = [line.split("\t") for line in run(tmp_path, "config", "show").stdout.splitlines()[:2]]
    assert tier == ["tiers[0]", f"file://{tmp_path}/.cache/layercache", "default"]
    assert size == ["tiers[0].max_size", default_cache.size_text(limit), "default"]


def test_the_limit_is_a_tenth_of_a_small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.statvfs(tmp_path)

    def disk(size: int) -> os.statvfs_result:
        return os.statvfs_result([4096, 4096, size // 4096, *whole[3:]])

    monkeypatch.setattr(os, "statvfs", lambda path: disk(4096 * 10**6 if path == str(tmp_path) else 0))
    assert default_cache.limit(f"{tmp_path}/not/there/yet") == 4096 * 10**5
    monkeypatch.setattr(os, "statvfs", lambda _: disk(10**15))
    assert default_cache.limit(str(tmp_path)) == 20 * 10**9
    monkeypatch.setattr(os, "statvfs", lambda _: disk(0))
    assert default_cache.limit(str(tmp_path)) == 20 * 10**9, "some network file systems report no size"


@pytest.mark.parametrize(
    ("url", "limit"),
    [
        ("~/.cache/layercache", True),
        ("file://~/.cache/layercache?keep=compressed", True),
        ("~/.cache/layercache/", True),
        ("file://~/.cache/layercache?max_size=100GB", False),
        ("file://~/.cache/layercache?max_size=none", False),
        ("~/.cache/layercache/below", False),
        ("~/elsewhere", False),
        ("memory://", False),
    ],
)
def test_the_limit_is_that_of_the_folder_however_it_is_named_unless_another_is_set(
    url: str, limit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    found = default_cache.limited(Setting(url, "--cache"))
    assert (found.value != url) is limit
    assert found.origin == "--cache"


@pytest.fixture
def images(lying: LyingRegistry) -> list[str]:
    """Two images of three layers, each of about 30 kB in all."""
    return [
        lying.add_image(
            str(number), make_image([make_layer({"x": noise(10 * KB, 10 * number + n)}) for n in range(3)])
        )
        for number in range(2)
    ]


def stored(folder: Path) -> int:
    return len(list((folder / "blobs" / "sha256").iterdir()))


def test_an_image_replaces_another_one_and_is_complete(
    images: list[str], tmp_path: Path, lying: LyingRegistry
) -> None:
    cli = Caller(f"file://{tmp_path}/cache?max_size=40kB&keep=compressed")
    for name in images:
        cli("pull", name)
        assert [line[4] for line in cli.lines("pull", name)] == ["hit"] * 3


def test_an_image_that_exceeds_the_limit_is_a_failure_that_says_so(images: list[str], tmp_path: Path) -> None:
    cli = Caller(f"file://{tmp_path}/cache?max_size=25kB&keep=compressed")
    called = cli("pull", "--jobs", "1", images[0], code=4)
    assert "what is being pulled exceeds max_size=25000" in called.stderr
    assert "raise max_size" in called.stderr
    results = [row.split("\t")[4] for row in called.stdout.splitlines()]
    assert sorted(results) == ["failed", "fetched", "fetched"], "none is evicted for another"
    assert stored(tmp_path / "cache") == 4, "two layers, the manifest and the config"


def test_a_layer_that_exceeds_the_limit_alone_is_a_failure(images: list[str], tmp_path: Path) -> None:
    called = Caller(f"file://{tmp_path}/cache?max_size=5kB&keep=compressed")("pull", images[0], code=2)
    assert "bytes exceed the limit of" in called.stderr
