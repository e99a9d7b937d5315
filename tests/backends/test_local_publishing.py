"""The two ways in which the local backend publishes: by link, and by rename."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fixtures.local_backend import BIG, a_backend, refuse, run_python

from layercache.testing import KEY, assert_absent, get, put

if TYPE_CHECKING:
    from pathlib import Path

    from layercache_backends.local import LocalBackend


def test_this_test_run_covers_files_without_a_name(tmp_path: Path) -> None:
    backend = a_backend(tmp_path)
    put(backend, KEY, b"")
    assert backend.unnamed_files is (sys.platform == "linux")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT])
def test_a_file_system_without_unnamed_files_is_written_by_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    really_open = os.open

    def open_named(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number), path)
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_named)
    check_writes_by_rename(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EXDEV, errno.EPERM])
def test_where_proc_or_links_are_missing_it_is_written_by_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    check_writes_by_rename(tmp_path)


def test_a_system_that_knows_no_unnamed_files_is_written_by_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.delattr(os, "posix_fadvise")
    check_writes_by_rename(tmp_path)


def check_writes_by_rename(root: Path) -> None:
    backend = a_backend(root / "cache")
    with backend.create(KEY) as sink:
        sink.write(bytes(BIG))
        assert len(os.listdir(root / "cache" / "tmp")) == 1
        assert_absent(backend, KEY)
        sink.commit()
    assert backend.unnamed_files is False
    assert get(backend, KEY) == bytes(BIG)
    put(backend, KEY, b"replaced")
    assert get(backend, KEY) == b"replaced"
    assert os.listdir(root / "cache" / "tmp") == []


@pytest.mark.parametrize("value", [b"", bytes(BIG)], ids=["empty", "big"])
def test_nothing_is_left_in_tmp(backend: LocalBackend, value: bytes) -> None:
    for _ in range(2):
        put(backend, KEY, value)
        with pytest.raises(KeyboardInterrupt), backend.create(KEY) as sink:  # noqa: PT012  # one scene
            sink.write(value)
            raise KeyboardInterrupt
        backend.create(KEY).write(value)  # and forgotten
        spool = backend.spool()
        spool.write(value)
        spool.close()
    assert os.listdir(backend.path("tmp")) == []


def test_an_unfinished_write_has_no_name(tmp_path: Path) -> None:
    backend = a_backend(tmp_path)
    with backend.create(KEY) as sink:
        sink.write(bytes(BIG))
        assert os.listdir(backend.path("tmp")) == []


@pytest.mark.parametrize("name", ["unnamed", "named"])
def test_objects_have_the_mode_that_the_umask_leaves(tmp_path: Path, name: str) -> None:
    # In a process of its own: the umask is everybody's.
    program = """
import os, sys
from layercache_backends.local import LocalBackend
os.umask(0o027)
backend = LocalBackend(sys.argv[1])
if sys.argv[2] == "named":
    backend.unnamed_files = False
with backend.create("a/b") as sink:
    sink.commit()
"""
    run_python(program, str(tmp_path), name)
    assert os.stat(tmp_path / "a" / "b").st_mode & 0o777 == 0o640
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o750


def test_a_folder_that_vanishes_is_made_again(backend: LocalBackend) -> None:
    put(backend, "a/b/c", b"1")
    with backend.create("a/b/d") as sink:
        os.unlink(backend.path("a/b/c"))
        os.rmdir(backend.path("a/b"))
        os.rmdir(backend.path("a"))
        sink.commit()
    assert get(backend, "a/b/d") == b""
    os.rmdir(backend.path("tmp"))
    put(backend, "a/b/c", b"2")
    assert get(backend, "a/b/c") == b"2"


def test_the_spools_folder_is_the_caches_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    really_open = os.open

    def remember(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        fd = really_open(path, flags, mode, dir_fd=dir_fd)
        opened.append(os.readlink(f"/proc/self/fd/{fd}"))
        return fd

    monkeypatch.setattr(os, "open", remember)
    with closing(a_backend(tmp_path, sync=False).spool()) as spool:
        spool.write(b"x")
    assert {path for path in opened if not path.startswith(f"{tmp_path}/tmp")} == {str(tmp_path)}
