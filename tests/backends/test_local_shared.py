"""A folder of a group: what one of its users writes the others read, use, evict and write to as well."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.images import make_layer

import layercache
from layercache.errors import BackendError
from layercache.testing import in_forked_child
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANN, BEN, STRANGER = 4242, 4243, 4244
TEAM = 4250

ONE, TWO = make_layer({"one": b"1" * 5000}), make_layer({"two": b"2" * 5000})

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two other users")


def as_user(user: int, act: Callable[[], object], *, umask: int = 0o022, team: bool = True) -> str:
    """What this gives when that user does it, who belongs to the team, with a umask."""

    def acting() -> object:
        os.setgroups([TEAM] if team else [])
        os.setgid(user)
        os.setuid(user)
        os.umask(umask)
        return act()

    return in_forked_child(acting)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the team. Not below pytest's, which are private: each new run makes them that again."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        made = Path(above) / "team"
        made.mkdir()
        os.chown(made, 0, TEAM)
        made.chmod(0o2770)
        yield made


def put(url: str, blob: bytes) -> None:
    path = f"/tmp/layercache-test-{os.getpid()}"  # where any user may write
    with open(path, "wb") as file:
        file.write(blob)
    try:
        with layercache.open(url) as cache:
            cache.put(path)
            assert cache.counters.failed == 0
    finally:
        os.remove(path)


def read(url: str, digest: str) -> bytes:
    with layercache.open(url) as cache, cache.get(digest).uncompressed() as tar:
        data = tar.read()
        assert cache.counters.failed == 0
        return data


@as_root
@pytest.mark.parametrize("umask", [0o022, 0o077], ids=["usual umask", "private umask"])
def test_two_users_of_a_setgid_folder_use_one_cache(folder: Path, umask: int) -> None:
    url = str(folder / "cache")

    def ann() -> object:
        put(url, ONE.blob)
        return "done"

    def ben() -> object:
        assert read(url, ONE.digest) == ONE.tar
        put(url, TWO.blob)
        with layercache.open(url) as cache:
            cache.delete(ONE.digest)
        return "done"

    def ann_again() -> object:
        assert read(url, TWO.diff_id) == TWO.tar
        with layercache.open(url) as cache:
            assert ONE.digest not in cache
        put(url, ONE.blob)
        return "done"

    assert as_user(ANN, ann, umask=umask) == "done"
    assert as_user(BEN, ben, umask=umask) == "done"
    assert as_user(ANN, ann_again, umask=umask) == "done"
    for place in [folder / "cache", *(folder / "cache").rglob("*")]:
        status = place.stat()
        wanted = 0o2070 if place.is_dir() else 0o060
        assert status.st_gid == TEAM, place
        assert stat.S_IMODE(status.st_mode) & wanted == wanted, place
        assert not (umask == 0o077 and status.st_mode & 0o007), f"others get nothing: {place}"


@as_root
def test_with_shared_a_folder_of_a_users_own_group_is_shared_too(folder: Path) -> None:
    folder.chmod(0o770)
    (folder / "cache").mkdir()
    os.chown(folder / "cache", ANN, TEAM)
    url = f"file://{folder}/cache?shared=true"

    def ann() -> object:
        put(url, ONE.blob)
        return "done"

    def ben() -> object:
        put(url, TWO.blob)
        return read(url, ONE.digest) == ONE.tar

    assert as_user(ANN, ann) == "done"
    assert as_user(BEN, ben) == "True"


@as_root
def test_who_is_not_in_the_group_reads_and_writes_nothing(folder: Path) -> None:
    url = str(folder / "cache")

    def ann() -> object:
        put(url, ONE.blob)
        return "done"

    def stranger() -> object:
        try:
            os.listdir(folder / "cache")
        except PermissionError:
            return "refused"
        return "read"

    assert as_user(ANN, ann) == "done"
    assert as_user(STRANGER, stranger, team=False) == "refused"


@pytest.mark.parametrize("mode", [0o755, 0o2755, 0o775], ids=oct)
def test_a_folder_that_is_not_its_groups_keeps_the_rights_of_the_umask(tmp_path: Path, mode: int) -> None:
    root = tmp_path / "cache"
    root.mkdir()
    root.chmod(mode)
    before = os.umask(0o022)
    try:
        put(str(root), ONE.blob)
    finally:
        os.umask(before)
    for place in root.rglob("*"):
        assert stat.S_IMODE(place.stat().st_mode) & 0o777 == (0o755 if place.is_dir() else 0o644), place


@as_root
def test_a_folder_that_another_user_put_in_the_place_of_a_new_one_keeps_its_mode(tmp_path: Path) -> None:
    """Only what belongs to this process gets another mode."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o700)
    os.chown(theirs, BEN, BEN)
    backend = LocalBackend(str(tmp_path), shared=True)
    fd = os.open(theirs, os.O_RDONLY)
    try:
        backend.folders.share(fd)
    finally:
        os.close(fd)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o700


def test_a_link_that_a_member_of_the_group_puts_in_the_place_of_a_new_cache_shares_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, team = tmp_path / "private", tmp_path / "team"
    private.mkdir(0o700)
    team.mkdir()
    team.chmod(0o2775)
    root, make = team / "cache", os.mkdir

    def swapped(path: str, *mode: int, dir_fd: int | None = None) -> None:
        make(path, *mode, dir_fd=dir_fd)
        if path == str(root):
            root.rmdir()
            root.symlink_to(private)

    monkeypatch.setattr(os, "mkdir", swapped)
    backend = LocalBackend(str(root))
    with pytest.raises(BackendError):
        backend.spool()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
