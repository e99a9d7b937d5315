"""What file systems share in a process, and what goes to another one."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import fsspec
import pytest
from fixtures.counted import counted
from fixtures.rootfs import IMAGE, NAME, OS_RELEASE, contents, store

from layercache.cache import Cache
from layercache.filesystem.opened import KEPT, Key, open_cache

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, sys, fsspec
assert "image" in fsspec.available_protocols() and "layercache" not in sys.modules
fs = fsspec.filesystem("image", image=sys.argv[2], cache=sys.argv[1])
before = fs.cat("/etc/os-release")
child = os.fork()
if not child:
    os._exit(0 if fs.cat("/etc/os-release") == before and fs.cat("/big") else 1)
assert os.waitpid(child, 0)[1] == 0
assert fs.cat("/big")
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return store(tmp_path)


def test_layercache_is_imported_for_its_urls_alone_and_a_fork_reads_on(url: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT, url, NAME], check=True, timeout=60)


def test_threads_share_a_cache_and_each_table(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = counted(monkeypatch, Cache, "image")
    read = []

    def one() -> None:
        read.append(fsspec.filesystem("image", cache=url).cat(f"{NAME}/etc/os-release"))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [OS_RELEASE] * 8
    assert looked_up == [(NAME,)]


def test_a_cache_is_closed_when_no_file_system_uses_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = counted(monkeypatch, Cache, "close")
    fs = fsspec.filesystem("image", image=NAME, cache=url, skip_instance_cache=True)
    assert fs.exists("/etc")
    assert not closed
    del fs
    assert closed == [()]


def test_a_tag_stays_what_it_was_until_the_cache_is_invalidated(tmp_path: Path, url: str) -> None:
    fs = fsspec.filesystem("image", image=NAME, cache=url)
    assert fs.cat("/etc/os-release") == OS_RELEASE
    sent = pickle.dumps(fs)
    store(tmp_path / "again", contents({"etc/os-release": b"moved"}), cache=url)
    assert fs.cat("/etc/os-release") == OS_RELEASE
    fs.invalidate_cache()
    assert fs.cat("/etc/os-release") == b"moved"
    received = pickle.loads(sent)
    assert received.cat("/etc/os-release") == OS_RELEASE
    assert received == fs
    assert hash(received) == hash(fs)
    received.invalidate_cache()
    assert received.cat("/etc/os-release") == b"moved"


def test_few_of_many_images_are_kept(url: str) -> None:
    cache = open_cache(url)
    layer = str(IMAGE.layers[0].digest)
    for number in range(KEPT + 5):
        cache.find(Key(layer, layer=True, platform=str(number)))
    assert len(cache._found) == KEPT
