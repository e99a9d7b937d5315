"""Names of the local backend: keys, what a scan passes over, URLs."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fixtures.local_backend import a_backend, opened

from layercache.backend import open_backend
from layercache.errors import ConfigError, InvalidNameError
from layercache.testing import put

if TYPE_CHECKING:
    from pathlib import Path

    from layercache_backends.local import LocalBackend


# Keys


@pytest.mark.parametrize("key", ["tmp", "tmp/x", "locks", "locks/x/y"])
def test_the_roots_own_folders_are_no_keys(backend: LocalBackend, key: str) -> None:
    for act in (backend.open, backend.stat, backend.delete, backend.create, backend.create_expendable):
        with pytest.raises(InvalidNameError, match=r"reserves tmp/ and locks/"):
            act(key)
    with pytest.raises(InvalidNameError):
        backend.scan(f"{key}/")
    with closing(backend.spool()) as spool, pytest.raises(InvalidNameError):
        spool.publish(key)
    put(backend, f"below/{key}", b"fine")
    assert [entry.key for entry in backend.scan()] == [f"below/{key}"]


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../b", "", "a//b", ".hidden", "a\n"])
def test_no_name_leads_out_of_the_root(backend: LocalBackend, key: str) -> None:
    for act in (backend.open, backend.stat, backend.delete, backend.create, backend.path):
        with pytest.raises(InvalidNameError):
            act(key)


def test_the_path_of_a_lock_is_told(tmp_path: Path) -> None:
    assert a_backend(tmp_path).path("locks/x") == f"{tmp_path}/locks/x"


def test_scan_passes_over_what_is_no_object(backend: LocalBackend) -> None:
    put(backend, "blobs/a", b"1")
    for folder in ("locks", "blobs/.hidden", "blobs/empty"):
        os.mkdir(os.path.join(backend.root, folder))
    for name in ("locks/l", "tmp/t", "blobs/.hidden/a", "blobs/.nfs001", "blobs/with space", "blobs/ä"):
        with open(os.path.join(backend.root, name), "wb"):
            pass
    os.mkfifo(os.path.join(backend.root, "blobs/fifo"))
    os.symlink("nowhere", os.path.join(backend.root, "blobs/broken"))
    os.symlink("..", os.path.join(backend.root, "blobs/loop"))
    os.symlink("a", os.path.join(backend.root, "blobs/link"))
    assert [entry.key for entry in backend.scan()] == ["blobs/a"]
    assert list(backend.read_small("")) == [("blobs/a", b"1")]


def test_scan_closes_its_folders_when_it_is_left_early(backend: LocalBackend) -> None:
    for number in range(3):
        put(backend, f"a/b/c/{number}", b"")
    before = len(os.listdir("/proc/self/fd"))
    entries = backend.scan()
    next(entries)
    assert len(os.listdir("/proc/self/fd")) > before
    entries.close()  # type: ignore[attr-defined]  # a generator
    assert len(os.listdir("/proc/self/fd")) == before


def test_scan_copes_with_folders_that_vanish(backend: LocalBackend) -> None:
    for name in "abcdef":
        put(backend, f"{name}/x/y", b"")
    entries = backend.scan()
    first = next(entries).key
    for name in set("abcdef") - set(first):
        os.unlink(backend.path(f"{name}/x/y"))
        os.rmdir(backend.path(f"{name}/x"))
        os.rmdir(backend.path(name))
    assert list(entries) == []


def test_a_prefix_that_is_no_folder_is_refused(backend: LocalBackend) -> None:
    with pytest.raises(ValueError, match="not a folder"):
        backend.scan("blobs")


# URLs


def test_paths_are_resolved_when_the_backend_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for url, root in [
        ("/x/y", "/x/y"),
        ("/x/../y/", "/y"),
        ("./x", f"{tmp_path}/x"),
        ("../x", f"{tmp_path.parent}/x"),
        (".", str(tmp_path)),
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("file:///x/y", "/x/y"),
        ("file://localhost/x", "/x"),
        ("file:///with%20space?sync=true", "/with space"),
        ("file://~/x", "/home/me/x"),
    ]:
        assert (opened(url).root, opened(url).url) == (root, f"file://{root}"), url


def test_a_host_is_refused_with_the_path_that_was_meant() -> None:
    with pytest.raises(
        ConfigError, match=r"write ./var/cache, for one in the root of the disk file:///var/cache"
    ):
        open_backend("file://var/cache")


@pytest.mark.parametrize("url", ["file://", "file://localhost", "~nobody-here/x", "file:///a%00b"])
def test_what_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"not (a|the path of a) folder"):
        open_backend(url)


def test_the_option_sync_is_known_and_no_other(tmp_path: Path) -> None:
    assert opened(f"file://{tmp_path}").sync is True
    assert opened(f"file://{tmp_path}?sync=false").sync is False
    with pytest.raises(ConfigError, match=r"unknown option fsync(.|\n)*options of file://: sync"):
        open_backend(f"file://{tmp_path}?fsync=true")
    with pytest.raises(ConfigError, match=r"sync(.|\n)*options of file://: sync"):
        open_backend(f"file://{tmp_path}?sync=perhaps")


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    with pytest.raises(ConfigError, match="is not a folder"):
        open_backend(f"file://{tmp_path}/file")
