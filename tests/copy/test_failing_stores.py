"""Stores that refuse, fail or change while they are copied: what fails does no harm."""

from __future__ import annotations

import threading

import pytest
from fixtures.copied import EVERYTHING, GZIP, ZSTD, copy, empty, filled, named
from fixtures.layers import put, sample
from fixtures.stores import Store, assert_sound, blobs, content, near, open_cache, refuses_writes, write_blob

from layercache.copy import Copy
from layercache.copy.report import FAILURES_IN_A_ROW
from layercache.errors import BackendError, ConfigError
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend


def test_a_store_is_not_copied_into_itself() -> None:
    with pytest.raises(ConfigError, match="itself"):
        Copy(filled(), filled(), EVERYTHING)


def test_a_target_that_is_read_only_is_refused() -> None:
    with pytest.raises(ConfigError, match="read-only"):
        Copy(filled(), near(named("x"), readonly=True), EVERYTHING)


def test_a_target_that_refuses_writes_ends_the_copy() -> None:
    target = Store(MemoryBackend(), url="full://", fails=refuses_writes)
    with pytest.raises(BackendError, match="full://"):
        copy(filled(GZIP, ZSTD), near(target))
    assert content(target.inner) == {}


def test_a_target_that_gets_full_keeps_whole_entries_and_takes_the_rest_later() -> None:
    source, room = filled(GZIP, ZSTD), threading.Semaphore(2)
    target = Store(
        MemoryBackend(), url="full://", fails=lambda action, _: action == "commit" and not room.acquire(False)
    )
    with pytest.raises(BackendError):
        copy(source, near(target))
    assert_sound(target.inner)
    target.fails = lambda _action, _key: False
    copy(source, near(target))
    assert content(target.inner) == content(source)


def test_what_is_bigger_than_the_target_may_get_in_all_is_passed_over_and_evicts_nothing() -> None:
    source = near(named("big"))
    put(open_cache(source), bytes(range(256)) * 20)
    target = BackendTier(named("limited"), Policy(trusted=True, max_size=5000))
    kept = Digest.of(b"it is there already")
    write_blob(target, kept, b"it is there already")
    report = copy(source, target)
    assert blobs(target) == {kept}
    assert (report.copied, report.wrong, report.unreadable) == (0, 0, 0)


def test_an_entry_that_cannot_be_read_is_passed_over() -> None:
    store = Store(filled(GZIP, ZSTD).backend)
    store.fails = lambda action, key: action == "read" and key == keys.blob(GZIP.digest)
    target = empty()
    report = copy(near(store), target)
    assert (report.unreadable, report.wrong) == (1, 0)
    assert ZSTD.digest in blobs(target)
    assert GZIP.digest not in blobs(target)


def test_a_source_that_gives_nothing_any_more_ends_the_copy() -> None:
    store = Store(filled(*(sample(each) for each in range(FAILURES_IN_A_ROW))).backend)
    store.fails = lambda action, _: action in ("open", "read")
    with pytest.raises(BackendError, match="store://"):
        copy(near(store), empty())


def test_a_blob_that_is_evicted_meanwhile_is_no_failure() -> None:
    store = Store(filled(GZIP, ZSTD).backend)

    def vanish(action: str, key: str) -> bool:
        if action == "open" and key == keys.blob(GZIP.digest):
            store.inner.delete(key)
        return False

    store.fails = vanish
    report = copy(near(store), empty())
    assert (report.copied, report.wrong, report.unreadable) == (3, 0, 0)
