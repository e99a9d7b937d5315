"""Conditional writes in a folder: what they cost, and what others do to its files meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.system_calls import system_calls

from layercache.errors import BackendError, NotFoundError
from layercache.testing import get, put
from layercache.testing.children import ForkedChild
from layercache_backends.local import LocalBackend, conditions
from layercache_backends.local.lock import try_lock
from layercache_backends.local.momentary import FILE

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "records/sha256/" + "0123456789abcdef" * 4


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """It has been written to, so that its folders are open."""
    backend = LocalBackend(str(tmp_path / "cache"))
    for name in ("one", "another"):
        backend.create_new(f"records/sha256/{name}", b"x")
    return backend


@pytest.fixture
def file(backend: LocalBackend) -> Path:
    return Path(backend.path(KEY))


def refusing(number: int) -> Callable[..., Any]:
    def refuse(*_args: object, **_options: object) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_new_object_takes_no_lock_and_no_second_name(backend: LocalBackend) -> None:
    calls = system_calls(lambda: backend.create_new(KEY, b"first"))
    assert calls == {"open": 1, "write": 1, "stat": 1, "link": 1, "close": 1}


def test_a_change_leaves_no_lock_file(backend: LocalBackend, file: Path) -> None:
    backend.create_new(KEY, b"first")
    data, version = backend.read_versioned(KEY)
    assert backend.write_if(KEY, data + b" and second", version)
    assert sorted(path.name for path in file.parents[2].iterdir()) == ["records", "tmp"]
    assert list((file.parents[2] / "tmp").iterdir()) == []
    version = backend.read_versioned(KEY)[1]
    assert backend.write_if(KEY, b"", version)
    assert not file.exists()


def test_no_bytes_of_a_change_wait_for_the_disk(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, refusing(errno.EIO))
    assert backend.create_new(KEY, b"first")
    assert backend.write_if(KEY, b"second", backend.read_versioned(KEY)[1])


def test_a_change_in_place_gives_another_version(backend: LocalBackend, file: Path) -> None:
    backend.create_new(KEY, b"first")
    version, status = backend.read_versioned(KEY)[1], file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not backend.write_if(KEY, b"second", version)
    assert get(backend, KEY) == b"other"


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_one_of_those_who_create_at_once_wins(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int, unnamed: bool
) -> None:
    monkeypatch.setattr(os, "link", refusing(number))
    backend.unnamed_files = False
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda each: backend.create_new(KEY, b"%d" % each), range(8)))
    assert created.count(True) == 1
    assert get(backend, KEY) == b"%d" % created.index(True)
    assert list(Path(backend.path("tmp")).iterdir()) == []
    assert os.listdir(backend.path("locks")) == [FILE], "that of all momentary locks"


def test_another_failure_to_link_is_an_error(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    with pytest.raises(BackendError, match=f"writing {KEY}"):
        backend.create_new(KEY, b"first")
    with pytest.raises(NotFoundError):
        backend.stat(KEY)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_does_not_honour_conditions(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert LocalBackend(backend.root).honours_conditions()
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    assert not backend.honours_conditions()
    backend.create_new(KEY, b"first")
    assert backend.write_if(KEY, b"second", backend.read_versioned(KEY)[1])
    assert not backend.write_if(KEY, b"third", "another")
    assert get(backend, KEY) == b"second"


def test_whether_there_are_locks_is_tried_once(backend: LocalBackend) -> None:
    assert backend.honours_conditions()
    assert system_calls(backend.honours_conditions) == {}


def hold(file: Path, report: Callable[[], None]) -> None:
    with file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        report()
        signal.pause()


def test_who_holds_the_lock_of_an_object_is_not_waited_for_without_end(
    backend: LocalBackend, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.create_new(KEY, b"first")
    version = backend.read_versioned(KEY)[1]
    monkeypatch.setattr(conditions, "PATIENCE", 0.05)
    with ForkedChild(lambda report: hold(file, report)) as child:
        child.wait_for_report()
        with pytest.raises(BackendError, match=r"has locked it for 0.05 s(.|\n)*fuser"):
            backend.write_if(KEY, b"second", version)
        assert get(backend, KEY) == b"first", "readers do not wait"
        child.kill()
        assert child.result() == "killed"
    assert backend.write_if(KEY, b"second", version), "a killed process holds no lock"


@pytest.mark.parametrize("kind", ["link", "broken link", "pipe", "folder"])
def test_what_is_not_a_regular_file_is_not_changed(
    backend: LocalBackend, file: Path, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "of another"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        if kind == "link":
            target.write_bytes(b"precious")
        file.symlink_to(target)
    assert not backend.create_new(KEY, b"new")
    with pytest.raises(NotFoundError):
        backend.read_versioned(KEY)
    assert not backend.write_if(KEY, b"new", "1")
    assert target.exists() == (kind == "link")
    if kind == "link":
        assert target.read_bytes() == b"precious"


def test_a_file_with_a_second_name_is_replaced_and_not_written_to(
    backend: LocalBackend, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "of another"
    other.write_bytes(b"precious")
    os.link(other, file)
    assert backend.write_if(KEY, b"new", backend.read_versioned(KEY)[1])
    assert (other.read_bytes(), file.read_bytes()) == (b"precious", b"new")


def test_a_link_in_the_place_of_a_folder_is_not_followed(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "cache" / "leases").symlink_to(tmp_path)
    with pytest.raises(BackendError, match="symbolic link"):
        backend.create_new("leases/x", b"new")
    assert not backend.write_if("leases/x", b"new", "1")
    assert not (tmp_path / "x").exists()


def test_an_object_is_changed_where_the_cache_was_removed_meanwhile(
    backend: LocalBackend, file: Path
) -> None:
    backend.create_new(KEY, b"first")
    version = backend.read_versioned(KEY)[1]
    root = file.parents[2]
    root.rename(root.with_name("moved"))
    assert backend.create_new(KEY, b"second")
    assert get(backend, KEY) == b"second"
    assert not backend.write_if(KEY, b"third", version)


def test_readers_of_an_object_keep_what_they_have_opened(backend: LocalBackend) -> None:
    put(backend, KEY, b"first")
    with backend.open(KEY) as reader:
        assert backend.write_if(KEY, b"second", backend.read_versioned(KEY)[1])
        assert reader.read() == b"first"


def test_the_lock_of_a_file_that_was_replaced_meanwhile_does_not_count(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, KEY, b"first")
    version, lock = backend.read_versioned(KEY)[1], try_lock
    tried: list[int] = []

    def late(file: int) -> bool:
        if not tried:
            put(backend, KEY, b"of another")
        tried.append(file)
        return lock(file)

    monkeypatch.setattr(conditions, "try_lock", late)
    assert not backend.write_if(KEY, b"second", version)
    assert get(backend, KEY) == b"of another"
    assert len(tried) == 2
