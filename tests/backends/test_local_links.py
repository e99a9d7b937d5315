"""A folder that several users write to: what one of them puts in it leads no other one out of it."""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from layercache.errors import BackendError
from layercache.testing import KEY, assert_absent, get, put
from layercache_backends.local import LocalBackend
from layercache_backends.local.momentary import FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRIVATE = b"my only copy\n"
FOLDER, _, NAME = KEY.rpartition("/")


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(str(tmp_path / "cache"))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Another folder of somebody who uses the cache; its files have names that the cache's own might have."""
    folder = tmp_path / "documents"
    (folder / "sub").mkdir(parents=True)
    for name in ("1-old", "thesis.tex", NAME, f"sub/{NAME}"):
        (folder / name).write_bytes(PRIVATE)
        os.utime(folder / name, (1, 1))
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, float]]:
    """Every file below a folder: its bytes, and when it was changed."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime)
        for path in folder.rglob("*")
        if path.is_file()
    }


def plant(backend: LocalBackend, path: str, target: Path) -> None:
    """Put a link where the cache has a folder or a file."""
    place = os.path.join(backend.root, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    os.symlink(target, place)


def use(backend: LocalBackend) -> None:
    """Everything that the core does to a store; what is refused is refused."""

    def lock() -> None:
        with backend.lock("usage") as held:
            if held:
                held.leave_note(b"0 0 end")

    def spool() -> None:
        with closing(backend.spool()) as spool:
            spool.write(b"of the cache")
            spool.publish(KEY)

    acts: list[Callable[[], object]] = [
        lambda: backend.touch(KEY),
        lambda: put(backend, KEY, b"of the cache"),
        spool,
        lock,
        lambda: backend.touch(KEY),
        lambda: backend.delete(KEY),
        lambda: backend.remove_leftovers(0),
    ]
    for act in acts:
        with suppress(BackendError):
            act()


@pytest.mark.parametrize("known", [False, True], ids=["fresh", "in use"])
@pytest.mark.parametrize("path", ["tmp", "locks", "contract", "contract/blobs", FOLDER])
def test_nothing_is_done_through_a_link_in_a_folders_place(
    backend: LocalBackend, documents: Path, path: str, known: bool
) -> None:
    before = state(documents)
    if known:
        use(backend)
    plant(backend, path, documents)
    use(backend)
    assert state(documents) == before


@pytest.mark.parametrize("path", ["contract", "contract/blobs", FOLDER])
def test_what_lies_behind_a_link_is_not_there(backend: LocalBackend, documents: Path, path: str) -> None:
    behind = documents / os.path.relpath(KEY, path)
    behind.parent.mkdir(parents=True, exist_ok=True)
    behind.write_bytes(PRIVATE)
    plant(backend, path, documents)
    assert_absent(backend, KEY)
    assert list(backend.scan(f"{path}/")) == []
    assert list(backend.read_small("")) == []


@pytest.mark.parametrize("path", ["tmp", "contract", FOLDER])
def test_a_write_that_a_link_is_in_the_way_of_says_which(
    backend: LocalBackend, documents: Path, path: str
) -> None:
    plant(backend, path, documents)
    name = os.path.basename(path)
    with pytest.raises(BackendError, match=f"{name} is a symbolic link, which is not followed") as caught:
        put(backend, KEY, b"x")
    assert "remove this one" in caught.value.hint


def test_the_root_may_be_a_link_and_lie_below_one(tmp_path: Path) -> None:
    (tmp_path / "disk" / "cache").mkdir(parents=True)
    (tmp_path / "mnt").symlink_to("disk")
    (tmp_path / "mnt" / "mine").symlink_to("cache")
    backend = LocalBackend(str(tmp_path / "mnt" / "mine"))
    put(backend, KEY, b"x")
    with backend.lock("usage") as held:
        assert held
    assert get(backend, KEY) == b"x"
    assert [entry.key for entry in backend.scan()] == [KEY]
    assert (tmp_path / "disk" / "cache" / KEY).read_bytes() == b"x"


# In a file's place


def make_link(path: Path, private: Path) -> None:
    path.symlink_to(private)


def make_loop(path: Path, private: Path) -> None:
    path.symlink_to(path)


def make_device_link(path: Path, private: Path) -> None:
    path.symlink_to("/dev/zero")


def make_pipe(path: Path, private: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path, private: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has some hundred bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


ODD = [make_link, make_loop, make_device_link, make_pipe, make_socket]


@pytest.mark.parametrize("make", ODD)
def test_what_is_no_plain_file_is_no_object_and_can_be_replaced(
    backend: LocalBackend, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    private = tmp_path / "private"
    private.write_bytes(PRIVATE)
    path = tmp_path / "cache" / KEY
    path.parent.mkdir(parents=True)
    make(path, private)
    assert_absent(backend, KEY)
    assert list(backend.read_small("")) == []
    backend.touch(KEY)
    put(backend, KEY, b"x")
    assert get(backend, KEY) == b"x"
    path.unlink()
    make(path, private)
    backend.delete(KEY)
    assert not os.path.lexists(path)
    assert private.read_bytes() == PRIVATE


@pytest.mark.parametrize("make", [*ODD, lambda path, private: os.link(private, path)])
@pytest.mark.parametrize("name", ["usage", FILE])
def test_a_lock_that_is_no_plain_file_of_the_caches_own_is_refused(
    backend: LocalBackend, tmp_path: Path, make: Callable[[Path, Path], None], name: str
) -> None:
    private = tmp_path / "private"
    private.write_bytes(PRIVATE)
    os.utime(private, (1, 1))
    path = tmp_path / "cache" / "locks" / name
    path.parent.mkdir(parents=True)
    make(path, private)
    with (
        pytest.raises(BackendError, match=f"locks/{re.escape(name)} is a link or not a regular file"),
        backend.lock("usage", lasting=name != FILE),
    ):
        pass
    assert backend.remove_leftovers(0) == 0
    assert (private.read_bytes(), private.stat().st_mtime) == (PRIVATE, 1)


def test_a_dangling_link_in_a_locks_place_makes_no_file(backend: LocalBackend, tmp_path: Path) -> None:
    plant(backend, "locks/usage", tmp_path / "made")
    with pytest.raises(BackendError), backend.lock("usage"):
        pass
    assert not (tmp_path / "made").exists()


def test_a_file_that_has_another_name_is_read_and_deleted_but_not_changed(
    backend: LocalBackend, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.write_bytes(PRIVATE)
    os.utime(private, (1, 1))
    path = tmp_path / "cache" / KEY
    path.parent.mkdir(parents=True)
    os.link(private, path)
    backend.touch(KEY)
    assert get(backend, KEY) == PRIVATE
    put(backend, KEY, b"x")
    assert (get(backend, KEY), private.read_bytes(), private.stat().st_mtime) == (b"x", PRIVATE, 1)


def test_only_what_unfinished_writes_are_called_is_cleared_from_tmp(tmp_path: Path) -> None:
    """The cache's folder may be one that has a tmp/ for other things: / has."""
    (tmp_path / "tmp").mkdir()
    for name in ("thesis.tex", "2024-report.pdf", "1-0123456789abcdef"):
        (tmp_path / "tmp" / name).write_bytes(PRIVATE)
    assert LocalBackend(str(tmp_path)).remove_leftovers(0) == 1
    assert sorted(os.listdir(tmp_path / "tmp")) == ["2024-report.pdf", "thesis.tex"]


# Folders that are kept open


def test_a_cache_that_was_removed_and_begun_again_is_found(backend: LocalBackend) -> None:
    put(backend, KEY, b"old")
    assert get(backend, KEY) == b"old"
    shutil.rmtree(backend.root)
    assert_absent(backend, KEY)
    put(LocalBackend(backend.root), KEY, b"new")
    assert get(backend, KEY) == b"new"
    assert [entry.key for entry in backend.scan()] == [KEY]
    shutil.rmtree(backend.root)
    put(backend, KEY, b"newer")
    assert get(LocalBackend(backend.root), KEY) == b"newer"


def test_what_is_written_after_a_folder_was_moved_away_is_where_its_name_is(backend: LocalBackend) -> None:
    put(backend, KEY, b"old")
    os.rename(backend.root, f"{backend.root}.old")
    put(backend, KEY, b"new")
    assert get(LocalBackend(backend.root), KEY) == get(backend, KEY) == b"new"
    assert get(LocalBackend(f"{backend.root}.old"), KEY) == b"old"


def held_below(folder: str) -> int:
    """How many files and folders below this one the process holds open."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself is gone
            count += os.readlink(f"/proc/self/fd/{number}").startswith(folder)
    return count


def test_few_folders_are_kept_open_and_none_after_closing(backend: LocalBackend) -> None:
    for number in range(200):
        put(backend, f"a/{number}/x", b"x")
        get(backend, f"a/{number}/x")
    assert 0 < held_below(backend.root) <= 70
    backend.close()
    assert held_below(backend.root) == 0
    assert get(backend, "a/1/x") == b"x"
