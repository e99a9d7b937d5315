"""What is wrong is moved out of the way, whole; what was read in part is neither judged nor moved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.layers import flipped, put, read, sample
from fixtures.stocked import on_disk
from fixtures.stores import Fetch, Store, content, evict, far, open_cache, write_blob

from layercache import NotFoundError
from layercache.errors import BackendError
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.upkeep import put_aside, verify
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layercache.backend import Backend, Reader

LAYER = sample(1)
KEY = keys.blob(LAYER.digest)
ROTTEN = flipped(LAYER.blob)


class Short:
    """A store whose readers end early, and say so with a clean end. It has no guard around it."""

    def __init__(self, inner: Backend, ends: Callable[[str], int | None]) -> None:
        self.url, self._inner, self._ends = "short://", inner, ends

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        reader: Any = self._inner.open(key, start, end)
        if (most := self._ends(key)) is not None:
            whole, reader = reader, self._inner.open(key, 0, most)
            reader.size = whole.size
        return reader  # type: ignore[no-any-return]  # as the inner one's

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def unguarded(backend: Any) -> BackendTier:
    """A tier that sees the backend as it is, as if the guard had a gap."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("layercache.tiers.backend.tier.guarded", lambda backend: backend)
        return BackendTier(backend, Policy(trusted=True))


@pytest.mark.parametrize("most", [0, 1, 1000, len(LAYER.blob) - 1])
@pytest.mark.parametrize("data", [LAYER.blob, ROTTEN])
def test_a_blob_that_is_read_in_part_is_unreadable_and_stays(most: int, data: bytes) -> None:
    inner = MemoryBackend()
    write_blob(inner, LAYER.digest, data)
    (checked,) = verify(unguarded(Short(inner, lambda _key: most)))
    assert checked.unreadable
    assert not checked.quarantined
    assert f"after {most} of {len(data)}" in checked.problem
    assert content(inner) == {KEY: data}


@pytest.mark.parametrize("ends", [KEY, keys.quarantine(KEY)])
def test_what_is_copied_in_part_into_the_quarantine_is_not_deleted(ends: str) -> None:
    inner = MemoryBackend()
    write_blob(inner, LAYER.digest, ROTTEN)
    tier = unguarded(Short(inner, lambda key: 1000 if key == ends else None))
    with pytest.raises(BackendError):
        put_aside(tier, KEY)
    assert content(inner)[KEY] == ROTTEN


@pytest.mark.parametrize("fails", ["create", "write", "commit"])
def test_what_cannot_be_copied_into_the_quarantine_is_not_deleted(fails: str) -> None:
    store = Store(MemoryBackend(), fails=lambda action, _key: action == fails)
    write_blob(store.inner, LAYER.digest, ROTTEN)
    with pytest.raises(BackendError):
        put_aside(far(store), KEY)
    assert content(store.inner) == {KEY: ROTTEN}
    assert "delete" not in {action for action, _ in store.asked}


# A folder as a store that cannot move: the process is killed before the copy in the quarantine has its name.
DIES_WHILE_IT_COPIES = """
import os, signal, sys
from pathlib import Path
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.upkeep import put_aside
from layercache_backends.local import LocalBackend
from layercache_backends.local.spool import LocalSpool

LocalSpool.publish = lambda spool, key: os.kill(os.getpid(), signal.SIGKILL)
del LocalBackend.move
put_aside(BackendTier(LocalBackend(sys.argv[1]), Policy(trusted=True)), sys.argv[2])
"""


def test_a_process_killed_while_it_copies_into_the_quarantine_loses_nothing(tmp_path: Path) -> None:
    tier = on_disk(tmp_path)
    write_blob(tier, LAYER.digest, ROTTEN)
    done = subprocess.run([sys.executable, "-c", DIES_WHILE_IT_COPIES, str(tmp_path), KEY], check=False)
    assert done.returncode == -signal.SIGKILL
    assert content(tier) == {KEY: ROTTEN}


def test_a_copy_that_is_killed_before_the_delete_leaves_both_whole() -> None:
    store = Store(MemoryBackend(), fails=lambda action, _key: action == "delete")
    write_blob(store.inner, LAYER.digest, ROTTEN)
    with pytest.raises(BackendError):
        put_aside(far(store), KEY)
    assert content(store.inner) == {KEY: ROTTEN, keys.quarantine(KEY): ROTTEN}


def test_on_disk_a_blob_is_moved_and_not_copied(tmp_path: Path) -> None:
    tier = on_disk(tmp_path)
    write_blob(tier, LAYER.digest, ROTTEN)
    inode = os.stat(tmp_path / KEY).st_ino
    for _ in range(2):  # what stood there before is replaced
        assert put_aside(tier, KEY)
        assert not (tmp_path / KEY).exists()
        os.rename(tmp_path / keys.quarantine(KEY), tmp_path / KEY)
    assert put_aside(tier, KEY)
    assert os.stat(tmp_path / keys.quarantine(KEY)).st_ino == inode
    with pytest.raises(NotFoundError):
        put_aside(tier, KEY)
    assert not put_aside(on_disk(tmp_path, readonly=True), keys.quarantine(KEY))


def test_a_folder_or_a_link_is_not_moved(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path / "cache"), sync=False)
    (tmp_path / "cache/a").mkdir(parents=True)
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "cache/link").symlink_to(tmp_path / "mine")
    for key in ("a", "link", "absent"):
        with pytest.raises(NotFoundError):
            backend.move(key, keys.quarantine(key))
    assert (tmp_path / "cache/a").is_dir()
    assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("verify_always", [False, True])
def test_what_a_reader_finds_wrong_on_disk_stands_in_the_quarantine(
    tmp_path: Path, verify_always: bool
) -> None:
    tier = on_disk(tmp_path)
    with open_cache(tier, verify_always=verify_always) as cache:
        put(cache, LAYER.blob)
        evict(tier, LAYER.diff_id)
        write_blob(tier, LAYER.digest, flipped(LAYER.blob, -6))
        fetched = cache.layer(LAYER.digest, diff_id=LAYER.diff_id, fetch=Fetch(LAYER.blob))
        assert read(fetched.uncompressed()) == LAYER.tar
    found = content(tier)
    assert found[keys.quarantine(KEY)] == flipped(LAYER.blob, -6)
    assert found[KEY] == LAYER.blob
