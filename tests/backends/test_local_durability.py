"""What the local backend waits for, so that an object outlives a power cut."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fixtures.local_backend import BIG, refuse

from layercache.backend import open_backend
from layercache.errors import BackendError
from layercache.testing import KEY, get, put

if TYPE_CHECKING:
    from pathlib import Path

    from layercache_backends.local import LocalBackend


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, in order: "file", or the folder's name."""
    calls: list[str] = []
    fdatasync, fsync = os.fdatasync, os.fsync

    def sync_data(fd: int) -> None:
        calls.append("file")
        fdatasync(fd)

    def sync_all(fd: int) -> None:
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fdatasync", sync_data)
    monkeypatch.setattr(os, "fsync", sync_all)
    return calls


def test_a_commit_waits_for_the_file_and_for_every_folder_that_got_a_name(
    backend: LocalBackend, synced: list[str], tmp_path: Path
) -> None:
    with backend.create("a/b/c") as sink:
        sink.write(b"x")
        assert synced == [tmp_path.name, "cache"]  # cache, tmp
        synced.clear()
        sink.commit()
    assert synced == ["file", "cache", "a", "b"]
    synced.clear()
    put(backend, "a/b/c", b"y")
    with closing(backend.spool()) as spool:
        spool.publish("a/b/d")
    assert synced == ["file", "b"] * 2


def test_the_file_is_synced_before_it_has_its_name(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_sync = os.fdatasync

    def check(fd: int) -> None:
        assert not os.path.exists(backend.path(KEY))
        really_sync(fd)

    monkeypatch.setattr(os, "fdatasync", check)
    put(backend, KEY, b"x")
    assert get(backend, KEY) == b"x"


def test_without_sync_nothing_is_waited_for(tmp_path: Path, synced: list[str]) -> None:
    backend = open_backend(f"file://{tmp_path}/cache?sync=false")
    put(backend, KEY, bytes(BIG))
    put(backend, KEY, b"again")
    assert synced == []
    assert get(backend, KEY) == b"again"


def test_an_expendable_object_is_not_waited_for(backend: LocalBackend, synced: list[str]) -> None:
    with backend.create_expendable("facts/1") as sink:
        sink.write(b"x")
        sink.commit()
    assert synced == []
    assert get(backend, "facts/1") == b"x"


def test_the_disk_begins_to_write_a_big_file_early(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, start, length, _advice: sent.append((start, length)))
    put(backend, KEY, bytes(1000))
    with backend.create_expendable(KEY) as sink:
        sink.write(bytes(BIG))
        sink.commit()
    assert sent == []
    with backend.create(KEY) as sink:
        for _ in range(20):
            sink.write(bytes(1 << 20))
        sink.commit()
    assert sent == [(0, 8 << 20), (8 << 20, 8 << 20)]


def test_a_file_system_that_cannot_sync_folders_is_good_enough(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    put(backend, KEY, b"x")
    assert get(backend, KEY) == b"x"


def test_a_folder_that_fails_to_sync_is_an_error(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, KEY, b"x")
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(BackendError, match="Input/output error"):
        put(backend, KEY, b"y")
