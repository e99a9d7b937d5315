"""A folder that several users share: each removes what is his own, and is not stopped by what is not."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest
from fixtures.stocked import HOUR, blobs, stock, used

from layercache.errors import BackendError, ForbiddenError
from layercache.oci.digest import Hash
from layercache.testing import in_forked_child
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.upkeep import prune
from layercache_backends.local import LocalBackend
from layercache_backends.local.momentary import FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ME, OTHER = 4242, 4243
NEW = b"n" * 100

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two other users")


def as_user(user: int, act: Callable[[], object]) -> str:
    """What this gives when that user does it."""

    def acting() -> object:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        return act()

    return in_forked_child(acting)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A cache in which everybody may write, and remove what is his own."""
    for above in [tmp_path, *tmp_path.parents[:3]]:  # pytest's own, which it makes private
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & stat.S_IXOTH:
            above.chmod(above.stat().st_mode | 0o011)
    root = tmp_path / "cache"
    for folder in ("blobs/sha256", "tmp", "locks", "images", "associations"):
        (root / folder).mkdir(parents=True)
    for place in [root, *root.rglob("*")]:
        place.chmod(0o1777)
    return root


def tier_on(root: Path, max_size: int | None = None) -> BackendTier:
    return BackendTier(LocalBackend(str(root), sync=False), Policy(trusted=True, max_size=max_size))


def stock_as(root: Path, user: int, seed: int, age: float) -> Hash:
    name = stock(tier_on(root), seed, 100, age=age)
    os.chown(root / keys.blob(name), user, user)
    return name


@as_root
def test_eviction_passes_over_what_is_another_users_and_removes_the_next(shared: Path) -> None:
    others = [stock_as(shared, OTHER, seed, 9 * HOUR) for seed in range(3)]
    mine = [stock_as(shared, ME, seed, HOUR) for seed in range(3, 6)]

    def publish() -> object:
        tier = tier_on(shared, max_size=500)
        tier.blobs.put(Hash.of(NEW), NEW)
        return tier.blobs.has(Hash.of(NEW))

    assert as_user(ME, publish) == "True"
    assert set(others) < blobs(tier_on(shared))
    assert used(tier_on(shared)) <= 500
    assert not set(mine) <= blobs(tier_on(shared))


@as_root
def test_a_blob_is_published_where_nothing_that_could_go_is_mine(shared: Path) -> None:
    for seed in range(5):
        stock_as(shared, OTHER, seed, 9 * HOUR)
    (shared / "locks" / "usage").write_text(f"500 {time.time():.3f} end")
    os.chown(shared / "locks" / "usage", OTHER, OTHER)
    (shared / "locks" / "usage").chmod(0o644)
    assert as_user(ME, lambda: tier_on(shared, max_size=500).blobs.put(Hash.of(NEW), NEW)) == "None"
    assert Hash.of(NEW) in blobs(tier_on(shared))


@as_root
def test_prune_reports_what_is_not_this_users_to_remove(shared: Path) -> None:
    others = stock_as(shared, OTHER, 1, 9 * HOUR)
    mine = stock_as(shared, ME, 2, HOUR)
    for user, name in ((OTHER, "1-aa"), (ME, "1-bb")):
        for folder in ("tmp", "locks"):
            (shared / folder / name).write_bytes(b"")
            os.utime(shared / folder / name, (1, 1))
            os.chown(shared / folder / name, user, user)

    def pruned() -> object:
        report = prune(tier_on(shared), max_age=60.0)
        return report.blobs, report.refused, report.left, report.leftovers

    assert as_user(ME, pruned) == "(1, 1, 100, 2)"
    assert blobs(tier_on(shared)) == {others}
    assert sorted(os.listdir(shared / "tmp")) == ["1-aa"]
    assert mine not in blobs(tier_on(shared))


@as_root
def test_what_is_forbidden_is_an_error_of_its_own_that_names_the_user(shared: Path) -> None:
    name = stock_as(shared, OTHER, 1, HOUR)

    def remove() -> object:
        with pytest.raises(ForbiddenError) as caught:
            tier_on(shared).blobs.delete(name)
        return caught.value.hint

    assert f"user id {ME}" in as_user(ME, remove)


# Times of the future


def test_a_blob_of_the_future_counts_as_used_now_and_ages_from_then_on(tmp_path: Path) -> None:
    tier = tier_on(tmp_path)
    names = [stock(tier, seed, 100, age=age) for seed, age in ((1, -9999 * HOUR), (2, 2 * HOUR))]
    path = tmp_path / keys.blob(names[0])
    report = prune(tier, max_size=150)
    assert (report.blobs, blobs(tier)) == (1, {names[0]})
    assert abs(path.stat().st_mtime - time.time()) < 60
    assert prune(tier, max_size=50).blobs == 1


def test_use_brings_a_time_of_the_future_back(tmp_path: Path) -> None:
    tier = tier_on(tmp_path)
    name = stock(tier, 1, 100, age=-9999 * HOUR)
    tier.blobs.open(name).close()
    assert abs(tier.blobs.stat(name).modified - time.time()) < 60


def test_a_leftover_from_the_future_counts_as_new(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    left = tmp_path / "tmp" / "1-a"
    left.write_bytes(b"")
    os.utime(left, (4e9, 4e9))
    backend = LocalBackend(str(tmp_path))
    assert backend.remove_leftovers(60) == 0
    assert abs(left.stat().st_mtime - time.time()) < 60
    os.utime(left, (4e9, 4e9))
    assert backend.remove_leftovers(0) == 1


# Inodes


def test_a_disk_without_inodes_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(str(tmp_path))
    real = os.statvfs(tmp_path)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        f_files, f_favail, f_bavail = real.f_files or 1, 0, 1

    with backend.create("a/b") as sink:
        monkeypatch.setattr(os, "write", refuse)
        monkeypatch.setattr(os, "statvfs", lambda _path: Full)
        with pytest.raises(BackendError, match="writing a/b: no inodes left on the disk") as caught:
            sink.write(b"x")
        assert "too many files" in caught.value.hint
        Full.f_bavail = 0
        sink.abort()
    with backend.create("a/b") as sink, pytest.raises(BackendError, match="No space left on device"):
        sink.write(b"x")


@as_root
def test_a_layers_lock_is_had_where_the_locks_file_is_another_users(shared: Path) -> None:
    with LocalBackend(str(shared)).lock("name", lasting=False):
        pass
    (shared / "locks" / FILE).chmod(0o644)
    os.chown(shared / "locks" / FILE, OTHER, OTHER)

    def held_by_one() -> object:
        backend = LocalBackend(str(shared))
        with (
            backend.lock("name", timeout=0, lasting=False) as mine,
            backend.lock("name", timeout=0, lasting=False) as again,
        ):
            return mine is not None, again is not None

    assert as_user(ME, held_by_one) == "(True, False)"
    assert os.listdir(shared / "locks") == [FILE]
