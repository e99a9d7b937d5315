"""An upgrade that is cut off, refused or runs beside others: nothing is lost, the next one finishes it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.earlier import CLAIMED, GZIP, ZSTD, association, fill_earlier
from fixtures.layers import sample
from fixtures.stores import Store, content, fact, write
from upkeep.upgrading import assert_upgraded, earlier, tier, upgrade

from layercache.errors import BackendError, ForbiddenError, StoreFormatError
from layercache.testing import in_forked_child
from layercache.testing.children import ForkedChild
from layercache.tiers import format
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.stores import Action

OTHER_USER = 4243
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


# Cut off


def test_an_upgrade_that_is_killed_at_any_point_is_finished_by_the_next() -> None:
    """After each single step the store is refused, or is complete; never does it look empty."""
    points = 0
    while True:
        memory, left, complete = earlier(), iter(range(points)), True

        def cut(action: Action, key: str, left: Iterator[int] = left) -> bool:
            return action in ("commit", "delete") and next(left, None) is None

        try:
            upgrade(Store(memory, fails=cut))
        except BackendError:
            complete = False
        if format.KEY in content(memory):
            assert not tier(memory).blobs.has(sample(9).digest)
            for layer in (GZIP, ZSTD, CLAIMED):
                assert tier(memory).facts.made_from(layer.diff_id)
        else:
            with pytest.raises(StoreFormatError):
                tier(memory).blobs.has(GZIP.digest)
        upgrade(memory)
        assert_upgraded(memory)
        if complete:
            break
        points += 1
    assert points == 6 + 1 + 6, "six records, the marker, six objects"


@pytest.mark.parametrize("point", [0, 3, 7, 20, 41])
def test_a_folder_whose_upgrade_was_killed_is_upgraded_by_the_next(tmp_path: Path, point: int) -> None:
    folder, layers = tmp_path / "cache", [sample(seed, size=10) for seed in range(10, 20)]
    backend = LocalBackend(str(folder))
    fill_earlier(backend, *layers)

    def work(report: object) -> None:
        class Fatal(LocalBackend):
            left = point

            def write_if(self, key: str, data: bytes, version: str | None) -> bool:
                self.count()
                return super().write_if(key, data, version)

            def delete(self, key: str) -> None:
                self.count()
                super().delete(key)

            def count(self) -> None:
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.left -= 1

        upgrade(Fatal(str(folder)), jobs=2)

    with ForkedChild(work) as child:
        assert child.result() == "killed"
    done = upgrade(backend, jobs=4)
    assert done.refused == 0
    for layer in (GZIP, ZSTD, *layers):
        assert [each.digest for each in tier(backend).facts.made_from(layer.diff_id)] == [layer.digest]
    assert not (folder / "associations").exists(), "its folders go, too"


def test_what_is_upgraded_already_is_not_written_to() -> None:
    memory = earlier()
    upgrade(memory)
    store = Store(memory)
    assert upgrade(store).found == format.FORMAT
    assert store.did("create", "commit", "delete") == []
    assert store.did("open") == [format.KEY]


@as_root
def test_a_folder_of_another_user_is_an_error_that_says_so_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    fill_earlier(LocalBackend(str(folder)))
    for above in [tmp_path, *tmp_path.parents[:3]]:
        above.chmod(above.stat().st_mode | 0o011)
    before = content(LocalBackend(str(folder)))

    def as_other_user() -> object:
        os.setgroups([])
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        try:
            return upgrade(LocalBackend(str(folder)))
        except ForbiddenError as error:
            return str(error)

    said = in_forked_child(as_other_user)
    assert "Permission denied" in said
    assert f"check who owns {folder}" in said
    assert content(LocalBackend(str(folder))) == before


# Beside others


def test_several_upgrades_at_once_do_it_together(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path / "cache"))
    fill_earlier(backend)
    children = [
        ForkedChild(lambda _: upgrade(LocalBackend(str(tmp_path / "cache")), jobs=2)) for _ in range(4)
    ]
    for child in children:
        with child:
            assert "Error" not in child.result(), child.result()
    assert_upgraded(backend)


def test_upgrades_of_one_store_in_threads_do_not_undo_each_other() -> None:
    memory = earlier()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upgrade(memory, jobs=2), range(4)))
    assert_upgraded(memory)


def test_what_an_older_version_writes_meanwhile_is_converted_and_not_lost() -> None:
    memory, late = earlier(), sample(7)

    def writes(action: Action, key: str) -> bool:
        if action == "create" and key == format.KEY:
            for name, data in association(late).items():
                write(memory, name, data)
        return False

    assert upgrade(Store(memory, fails=writes)).associations == 4
    assert [each.digest for each in tier(memory).facts.made_from(late.diff_id)] == [late.digest]
    assert [key for key in content(memory) if key.startswith(format.EARLIER)] == []


def test_what_a_newer_version_has_recorded_meanwhile_stays() -> None:
    memory = earlier()
    new = fact(CLAIMED.digest, CLAIMED.diff_id, len(CLAIMED.blob), tar_size=len(CLAIMED.tar))
    BackendTier(memory, Policy()).facts.record(new)
    upgrade(memory)
    assert tier(memory).facts.inflates_to(CLAIMED.digest) == [new], "a claim undoes nothing computed"


def test_a_cache_to_which_an_older_version_still_writes_can_be_upgraded_again() -> None:
    memory, late = earlier(), sample(7)
    upgrade(memory)
    for name, data in association(late).items():
        write(memory, name, data)
    assert not tier(memory).facts.made_from(late.diff_id)
    done = upgrade(memory)
    assert (done.found, done.associations, done.removed) == (2, 1, 2)
    assert tier(memory).facts.made_from(late.diff_id)
